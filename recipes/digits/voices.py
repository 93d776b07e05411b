"""Which of espeak-ng's voice variants speak, and who of them is heard in which split.

Chosen by figures: every variant said the ten digits (accent en-us), and each digit was compared by dynamic time
warping of mean-free cepstra with the digits of four plain voices (m3, m7, f2, f5). Left out are

- whispers (whisper, whisperf, caleb), machines and monsters (UniRobot, anikaRobot, robosoft*, Demonic), and
  voices with a long echo of their own (RicishayMax*, Alicia, Marco);
- the Klatt synthesizer's voices (klatt*, adam, announcer, benjamin, david, edward*, mike2, Reed), and ian,
  kaukovalta, Lee, marcelo, norbert, shelby, travis and zac: nearly all had digits nearer to another digit;
- anika and gustave, right by the smallest margins; `fast`, the plain voice under another name; steph3, which is
  steph2 but louder; and "Mr serious", for the space in the name.

What is held out is held out with all its editions (Gene and Gene2, f3 and f4: 0.5 and 0.9 apart by the same
warping). From each variant of DEV and TEST to the nearest of TRAIN it is 1.3 or more.
"""

TEST = ("Annie", "Gene", "Gene2", "f3", "f4", "m2", "pedro", "sandro")
DEV = ("ed", "f1", "linda", "m8", "paul", "victor")
TRAIN = (
    *("Alex", "Andrea", "Andy", "AnxiousAndy", "Denis", "Diogo", "Henrique", "Hugo", "Jacky", "Mario", "Michael"),
    *("Mike", "Nguyen", "Storm", "Tweaky", "antonio", "aunty", "belinda", "boris", "croak", "f2", "f5", "grandma"),
    *("grandpa", "iven", "iven2", "iven3", "iven4", "john", "m1", "m3", "m4", "m5", "m6", "m7", "max", "michel"),
    *("miguel", "pablo", "quincy", "rob", "robert", "steph", "steph2"),
)
