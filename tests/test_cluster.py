"""Jobs on a cluster: what the config asks Slurm for. Nothing is submitted."""

import dataclasses
import importlib.util
import os

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from asr.config import Config, register, resolve
from asr.launcher import Launch, detect_launch
from asr.resources import resource_directory

needs_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason='Slurm jobs: pip install "blstm-asr[cluster]"'
)
DATA = ["data.train=[a]", "data.dev=[b]"]


def composed(*overrides, with_hydra=True):
    register()
    with initialize_config_dir(str(resource_directory("configs")), version_base="1.3"):
        return compose("config", overrides=[*overrides, *DATA], return_hydra_config=with_hydra)


@pytest.fixture
def submitted(tmp_path, monkeypatch):
    """What is handed to sbatch: the options of a job's script, and its commands under "commands"."""
    for name, said in (("sbatch", "Submitted batch job 7"), ("srun", "")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {said}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def submit(*overrides) -> dict[str, str]:
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
        from submitit import AutoExecutor

        asked = OmegaConf.to_container(composed(*overrides).hydra.launcher, resolve=True)
        executor = AutoExecutor(tmp_path / "jobs", cluster="slurm", slurm_max_num_timeout=asked["max_num_timeout"])
        own = ("_target_", "submitit_folder", "max_num_timeout")  # the launcher's, and not the job's
        shared = {field.name for field in dataclasses.fields(BaseQueueConf)}
        named = {key if key in shared else f"slurm_{key}": value for key, value in asked.items() if key not in own}
        executor.update_parameters(**named)
        lines = executor.submit(print).paths.submission_file.read_text().splitlines()
        flags = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH --")]
        commands = "\n".join(line for line in lines if not line.startswith("#"))
        return {**dict(flag.split("=", 1) for flag in flags), "commands": commands}

    return submit


def test_the_file_says_what_slurm_needs_without_the_package():
    """Read as plain YAML: the launcher itself is the package's."""
    config = OmegaConf.load(resource_directory("configs") / "cluster" / "slurm.yaml")
    assert config.defaults == [{"override /hydra/launcher": "submitit_slurm"}]
    launcher = OmegaConf.to_container(config.hydra.launcher, resolve=False)
    assert launcher["gpus_per_node"] == "${.tasks_per_node}"  # a GPU for each process, and each sees all
    assert not {"gpus_per_task", "gres"} & launcher.keys()
    assert config.hydra.mode == "MULTIRUN"
    assert OmegaConf.to_container(config.hydra.sweep, resolve=False) == {"dir": "${run_dir}", "subdir": "."}


def test_without_the_package_hydra_says_what_is_missing():
    if importlib.util.find_spec("submitit") is not None:
        pytest.skip("the package is there")
    from hydra.errors import MissingConfigException

    with pytest.raises(MissingConfigException, match="submitit_slurm"):
        composed("+cluster=slurm")


@needs_submitit
def test_a_process_for_each_gpu_of_every_node(submitted):
    asked = submitted("+recipe=librispeech", "+cluster=slurm", "hydra.launcher.nodes=4")
    wanted = {"nodes": "4", "ntasks-per-node": "8", "gpus-per-node": "8", "cpus-per-task": "8", "time": "1440"}
    assert {name: asked[name] for name in wanted} == wanted
    assert asked["job-name"] == "asr-librispeech"
    assert asked["signal"].endswith("@120")
    assert "srun" in asked["commands"]  # or a node would have one process, and no step of Slurm's
    assert asked["commands"].index("SRUN_CPUS_PER_TASK") < asked["commands"].index("srun --")


@needs_submitit
def test_fewer_processes_are_fewer_gpus(submitted):
    asked = submitted("+cluster=slurm", "hydra.launcher.tasks_per_node=2", "hydra.launcher.partition=v")
    assert (asked["ntasks-per-node"], asked["gpus-per-node"], asked["partition"]) == ("2", "2", "v")


@needs_submitit
def test_the_run_itself_is_the_same():
    plain = composed("+recipe=librispeech", with_hydra=False)
    on_cluster = composed("+recipe=librispeech", "+cluster=slurm", with_hydra=False)
    assert resolve(plain, Config) == resolve(on_cluster, Config)


@needs_submitit
def test_every_job_has_the_directory_that_it_names():
    config = composed("+recipe=librispeech", "+cluster=slurm", "run_dir='runs/lr-${optim.lr}'", "optim.lr=0.002")
    assert config.hydra.sweep.dir == "runs/lr-0.002"


def test_the_tasks_of_a_step_are_processes_of_one_run():
    """The variables that srun gave the tasks of a job of 2 nodes with 4 GPUs each."""
    given = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_JOB_NUM_NODES": "2"}
    step = {**given, "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}
    ranks = [detect_launch({**step, "SLURM_PROCID": str(rank)}) for rank in range(8)]
    assert ranks == [Launch("slurm", rank, 8, 2) for rank in range(8)]
    assert [launch.is_leader for launch in ranks] == [True] + 7 * [False]
    assert {launch.processes_a_node for launch in ranks} == {4}
    assert detect_launch({**given, "SUBMITIT_EXECUTOR": "slurm"}) == Launch()  # the script, before srun
