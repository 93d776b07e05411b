"""Who is in which part of TIMIT.

The core test set is NIST's own: two men and one woman of each of the eight dialect regions (TIMIT's doc/testset.doc).
The development set of fifty other test speakers is that of Halberstadt 1998 (PhD thesis, MIT), which Kaldi, lhotse and
nearly everybody since have used. All other speakers of TEST are in no set.
"""

from __future__ import annotations

_CORE_TEST = """
    felc0 mdab0 mwbt0  fpas0 mtas1 mwew0  fpkt0 mjmp0 mlnt0  fjlm0 mlll0 mtls0
    fnlp0 mbpm0 mklt0  fmgd0 mcmj0 mjdh0  fdhc0 mgrt0 mnjm0  fmld0 mjln0 mpam0
"""
_DEV = """
    fadg0 faks0 fcal1 fcmh0 fdac1 fdms0 fdrw0 fedw0 fgjd0 fjem0 fjmg0 fjsj0 fkms0 fmah0 fmml0 fnmr0 frew0 fsem0 majc0
    mbdg0 mbns0 mbwm0 mcsh0 mdlf0 mdls0 mdvc0 mers0 mgjf0 mglb0 mgwt0 mjar0 mjfc0 mjsw0 mmdb1 mmdm2 mmjr0 mmwh0 mpdf0
    mrcs0 mreb0 mrjm4 mrjr0 mroa0 mrtk0 mrws1 mtaa0 mtdt0 mteb0 mthc0 mwjg0
"""

CORE_TEST_SPEAKERS = frozenset(_CORE_TEST.split())
DEV_SPEAKERS = frozenset(_DEV.split())
