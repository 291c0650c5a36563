"""The batch script as text: what it asks for, and that no value can break out of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from needed import lacking

from cpivae.cluster.script import Job, batch_script, options, problems_of
from cpivae.config.slurm import SlurmSettings

HOSTILE = [
    "it's",
    'a "b"',
    "$(touch owned)",
    "`touch owned`",
    "; touch owned",
    "a\\",
    "# no comment",
    "Überblick/π",
    "%j",
]

printable = st.characters(exclude_characters="/\0", exclude_categories=["Cs", "Cc", "Zl", "Zp"])
names = st.text(printable, min_size=1, max_size=20).filter(lambda name: name not in (".", ".."))
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


def job(**changes: Any) -> Job:
    asked = {k: changes.pop(k) for k in list(changes) if k in SlurmSettings.model_fields}
    plain = Job(
        SlurmSettings(**asked), "study", Path("/data/sweeps/study"), Path("/home/ada"), ["tune", "--resume"], "python"
    )
    return replace(plain, **changes)


def directives(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]


def checked(script: str, folder: Path) -> None:
    (folder / "job.sh").write_text(script)
    for checker in (["bash", "-n"], ["shellcheck", "--severity=warning"]):
        if shutil.which(checker[0]) is None:
            lacking(f"no {checker[0]} on this machine (apt-get install {checker[0]})")
        done = subprocess.run([*checker, str(folder / "job.sh")], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_asked_for_is_in_the_script() -> None:
    script = batch_script(
        job(
            nodes=4,
            gpus_per_node=4,
            gpu_type="a100",
            cpus_per_node=16,
            mem_per_node="200G",
            time="12:00:00",
            partition="gpu",
            account="lab",
            qos="normal",
            constraint="ib",
            extra=["--mail-type=END"],
            warn_minutes=10,
            modules=["cuda/12.4"],
            env=["conda activate cpivae"],
        )
    )
    assert directives(script) == [
        "--job-name=cpivae-study", "--output=/data/sweeps/study/cluster/job-%j.log", "--open-mode=append", "--nodes=4",
        "--ntasks-per-node=1", "--cpus-per-task=16", "--gres=gpu:a100:4", "--mem=200G", "--time=12:00:00",
        "--partition=gpu", "--account=lab", "--qos=normal", "--constraint=ib", "--signal=B:USR1@600", "--requeue",
        "--no-kill", "--mail-type=END",
    ]  # fmt: skip
    load, hook, activate = (
        script.index(t) for t in ("module load cuda/12.4\n", "conda shell.bash hook", "\nconda act")
    )
    assert load < hook < activate < script.index("-m cpivae.cluster.token")


def test_no_option_of_the_program_can_be_given_a_second_time() -> None:
    everything = dict.fromkeys(("account", "partition", "qos", "constraint"), "x")
    options = directives(batch_script(job(**everything, gpus_per_node=1, mem_per_node="1G", time="1:00:00")))
    assert len(options) == 16
    for option in options:
        with pytest.raises(ValueError, match="is set by the program"):
            job(extra=[option])


def test_what_is_not_asked_for_is_left_to_the_cluster() -> None:
    told = " ".join(directives(batch_script(job())))
    for option in ("gres", "mem", "time", "partition", "account", "qos", "constraint"):
        assert f"--{option}=" not in told
    assert "--no-requeue" in batch_script(job(max_requeues=0))


def test_no_secret_is_in_the_script_and_no_other_ray_is_ended() -> None:
    script = batch_script(job(nodes=2))
    assert "ulimit -c 0" in script
    assert "RAY_AUTH_TOKEN=" not in script
    assert "ray stop" not in script


def test_ray_is_bound_to_loopback_where_there_is_only_one_node() -> None:
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0" in batch_script(job(nodes=1))
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in batch_script(job(nodes=2))


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("name", ["study", *HOSTILE])
def test_a_script_is_sound_bash(name: str, nodes: int, tmp_path: Path) -> None:
    asked = {
        "nodes": nodes,
        "account": name,
        "container": ["run it", name],
        "stage_data": nodes == 2,
        "modules": [name],
    }
    checked(batch_script(job(sweep=Path("/d") / name, directory=Path("/") / name, name=name, **asked)), tmp_path)


RECORDER = f"""#!{sys.executable}
import json, os, resource, sys
call = dict(words=[os.getcwd(), *sys.argv[1:]], env=dict(os.environ), core=resource.getrlimit(resource.RLIMIT_CORE))
with open(os.environ["RECORD"], "a") as record:
    record.write(json.dumps(call) + "\\n")
if "cpivae.cluster.node" in sys.argv:
    with open(os.environ["CPIVAE_RAY_ADDRESS_FILE"], "w") as file:
        file.write("10.0.0.1:6379")
"""


@pytest.fixture
def stand(tmp_path: Path) -> Path:
    """A folder with an interpreter that notes how it is called, and an srun that calls what it is given."""
    (tmp_path / "bin").mkdir()
    programs = {
        "recorder": RECORDER,
        "srun": '#!/bin/bash\nwhile [[ $1 == -* ]]; do shift; done\nexec "$@"\n',
        "scontrol": '#!/bin/bash\necho "$@" >> "$RECORD.scontrol"\nexit 1\n',  # it would end the script
    }
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def called(stand: Path, script: str, status: int = 0) -> list[list[str]]:
    return [call["words"] for call in calls_of(stand, script, status)]


def calls_of(stand: Path, script: str, status: int = 0, **env: str) -> list[dict[str, Any]]:
    record = stand / "record"
    record.write_text("")
    (stand / "job.sh").write_text(script)
    environment = {
        "PATH": f"{stand / 'bin'}:{os.environ['PATH']}", "RECORD": str(record), "SLURM_JOB_ID": "7",
        "SLURM_CPUS_PER_TASK": "2", "SLURM_JOB_NUM_NODES": "3", "PYTHONSAFEPATH": "1", **env,
    }  # fmt: skip
    done = subprocess.run(["bash", "job.sh"], cwd=stand, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return [json.loads(line) for line in record.read_text().splitlines()]


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names, names, st.lists(words, max_size=4))
def test_names_and_arguments_reach_the_driver_as_they_are(
    stand: Path, study: str, home: str, arguments: list[str]
) -> None:
    directory = stand / "homes" / home
    directory.mkdir(parents=True, exist_ok=True)
    sweep = directory / study
    command = ["tune", *arguments]
    script = batch_script(
        job(name=study, sweep=sweep, directory=directory, command=command, python=str(stand / "bin" / "recorder"))
    )
    assert all("\n" not in option for option in options(job(name=study, sweep=sweep)))
    calls = called(stand, script)
    driver = next(call for call in calls if call[1:3] == ["-m", "cpivae"])
    address = ["--resume", "--address", "10.0.0.1:6379", "--nodes", "3"]
    assert driver == [str(directory), "-m", "cpivae", *command, *address]
    again = next(call for call in calls if "cpivae.cluster.again" in call)
    assert again[-5:] == [str(sweep), "7", "0", "0", "20"]
    assert not (sweep / "cluster" / "address-7-0").exists()
    assert {p.name for p in directory.iterdir()} <= {study, *(p.name for p in directory.iterdir() if p.is_dir())}
    shutil.rmtree(stand / "homes")


def test_a_container_is_what_runs_everything(stand: Path) -> None:
    recorder, directory = str(stand / "bin" / "recorder"), stand / "home"
    directory.mkdir()
    asked = {"container": [recorder, "exec", "an image.sif"], "python": "python3"}
    calls = called(stand, batch_script(job(sweep=directory / "s", directory=directory, **asked)))
    assert {tuple(call[1:5]) for call in calls} == {("exec", "an image.sif", "python3", "-m")}


def test_a_folder_that_is_gone_ends_the_job_at_once(stand: Path) -> None:
    assert called(stand, batch_script(job(directory=stand / "gone")), status=2) == []


@pytest.mark.parametrize("staged", [True, False])
def test_the_driver_copies_the_tables_to_the_nodes_own_disk_where_that_is_asked_for(stand: Path, staged: bool) -> None:
    python, sweep = str(stand / "bin" / "recorder"), stand / "study"
    script = batch_script(job(sweep=sweep, directory=stand, python=python, stage_data=staged))
    (driver,) = [call for call in called(stand, script) if call[1:3] == ["-m", "cpivae"]]
    assert driver[3] == "tune"
    assert ("--stage_data" in driver) == staged
    if staged:
        assert driver[driver.index("--stage_data") + 1] == "/tmp"


@pytest.fixture
def plain(stand: Path) -> dict[str, Any]:
    return {"sweep": stand / "study", "directory": stand, "python": str(stand / "bin" / "recorder")}


def test_no_secret_of_the_user_and_no_core_is_in_the_job(stand: Path, plain: dict[str, Any]) -> None:
    calls = calls_of(stand, batch_script(job(**plain)), RAY_AUTH_TOKEN="secret")  # Ray would prefer it to the job's own
    assert len(calls) == 4
    for call in calls:
        assert "secret" not in call["env"].values(), call["words"]
        assert call["env"]["RAY_AUTH_TOKEN_PATH"] == str(stand / "study" / "cluster" / "token-7")
        assert call["core"] == [0, 0]


def test_conda_is_asked_once_the_lines_before_have_brought_it(stand: Path, plain: dict[str, Any]) -> None:
    (stand / "conda").mkdir()
    conda = stand / "conda" / "conda"
    conda.write_text("#!/bin/bash\n[ \"$*\" = 'shell.bash hook' ] && echo 'conda() { export ACTIVE+=$2; }'\n")
    conda.chmod(0o755)
    env = [f"export PATH={stand}/conda:$PATH", "conda activate one", "  conda activate two"]
    calls = calls_of(stand, batch_script(job(env=env, **plain)))
    assert {call["env"].get("ACTIVE") for call in calls} == {"onetwo"}


def test_a_warning_while_the_environment_is_made_queues_the_job_again(stand: Path, plain: dict[str, Any]) -> None:
    script = batch_script(job(env=["kill -USR1 $$"], **plain))
    words = called(stand, script, status=75)
    assert {call[2] for call in words} == {"cpivae.cluster.again"}, "nothing is started that would have to be ended"
    assert [call[-3:] for call in words if "cpivae.cluster.again" in call] == [["75", "0", "20"]]
    assert (stand / "record.scontrol").read_text() == "requeue 7\n"


def test_an_end_while_the_environment_is_made_is_one(stand: Path, plain: dict[str, Any]) -> None:
    assert called(stand, batch_script(job(env=["kill -TERM $$"], **plain)), status=75) == []


def test_a_container_sees_the_folders_that_the_job_needs(stand: Path, plain: dict[str, Any]) -> None:
    for name in ("tables/deep", "other"):
        (stand / "far" / name).mkdir(parents=True)
    (stand / "far" / "other" / "b.csv").touch()
    reads = [stand / "far" / "tables", stand / "far" / "tables" / "deep" / "a.csv", stand / "far" / "other" / "b.csv"]
    asked = plain | {"directory": stand / "bin", "python": "python", "reads": reads}
    script = batch_script(job(container=[plain["python"], "exec", "image.sif"], **asked))
    bound = ",".join(str(stand / name) for name in ("bin", "far/other", "far/tables", "study"))
    for apptainer, singularity, there in (
        ("", "", ("", "")),
        ("/mine", "", ("/mine,", "/mine,")),
        ("", "/mine", ("/mine,", "/mine,")),
        ("/a", "/s", ("/a,", "/s,")),
    ):
        for call in calls_of(stand, script, APPTAINER_BIND=apptainer, SINGULARITY_BIND=singularity):
            bound_there = (call["env"]["APPTAINER_BIND"], call["env"]["SINGULARITY_BIND"])
            assert bound_there == tuple(f"{mine}{bound}" for mine in there)
    staged = batch_script(job(container=[plain["python"], "exec", "image.sif"], stage_data=True, **asked))
    assert {c["env"]["APPTAINER_BIND"] for c in calls_of(stand, staged, TMPDIR="/local/7")} == {f"{bound},/local/7"}
    assert not any("BIND" in line for line in batch_script(job(**plain)).splitlines())
    (problem,) = problems_of(job(container=["run"], sweep=Path("/a,b/study")))
    assert "/a,b/study has a comma, a colon or a backslash" in problem
