"""The cluster that tests run on: its machines are separate, its users real, and they can be lost and found."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lab import LOGIN, Lab, LabError, MakeLab, until
from slurm import HASTY

LISTEN = """
import socket, sys
with socket.create_server((sys.argv[1], 5000)) as server:
    print("listening", flush=True)
    while True:
        server.accept()[0].close()
"""
CALL = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 5000), 2).close()
    print("answered")
except OSError as error:
    print(error)
"""


def python(program: str, *words: str) -> list[str]:
    return [sys.executable, "-c", program, *words]


def call(lab: Lab, machine: str, address: str) -> str:
    return lab.run(machine, python(CALL, address)).stdout.strip()


def listen(lab: Lab, machine: str, address: str) -> None:
    process = lab.popen(machine, python(LISTEN, address))
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"


def submit(lab: Lab, *words: str, user: str = "root") -> str:
    cwd = lab.shared if user == "root" else None
    return lab.run(LOGIN, ["sbatch", "--parsable", *words], user=user, cwd=cwd).stdout.strip()


def test_a_job_runs_on_every_node_that_it_asks_for(lab: Lab) -> None:
    done = lab.wait_for_job(submit(lab, "-N2", "--wrap", "srun hostname"))
    assert sorted(Path(done["StdOut"]).read_text().split()) == ["n1", "n2"]


def test_a_job_that_ends_otherwise_than_waited_for_is_told_with_its_output(lab: Lab) -> None:
    job = submit(lab, "--wrap", "echo no such luck; exit 3")
    with pytest.raises(LabError, match=r"FAILED(.|\n)*no such luck"):
        lab.wait_for_job(job)
    assert lab.job(job)["ExitCode"] == "3:0"


def test_machines_reach_each_other_and_nothing_else(lab: Lab) -> None:
    listen(lab, "n1", "")
    assert call(lab, "n2", "n1") == "answered"
    assert call(lab, "n1", "localhost") == "answered"
    assert "refused" in call(lab, "n2", "localhost")
    assert "unreachable" in call(lab, "n2", "192.0.2.1")


def test_what_listens_on_loopback_is_not_reached_from_another_machine(lab: Lab) -> None:
    listen(lab, LOGIN, "127.0.0.1")
    assert call(lab, LOGIN, "127.0.0.1") == "answered"
    assert "refused" in call(lab, "n1", "login")
    assert "refused" in call(lab, "n1", "127.0.0.1")


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm", "/run"])
def test_machines_have_their_own(lab: Lab, folder: str) -> None:
    lab.run("n1", ["touch", f"{folder}/of-n1"])
    assert lab.run("n1", ["test", "-e", f"{folder}/of-n1"]).returncode == 0
    assert lab.run("n2", ["test", "-e", f"{folder}/of-n1"], check=False).returncode == 1
    assert not Path(folder, "of-n1").exists()


def test_machines_share_the_folder_of_the_lab_and_root_s_home_which_is_not_the_real_one(lab: Lab) -> None:
    lab.run("n1", ["sh", "-c", "touch ~/of-root; touch $0", str(lab.shared / "of-all")])
    lab.run("n2", ["test", "-e", str(lab.home("root") / "of-root")])
    lab.run("n2", ["test", "-e", str(lab.shared / "of-all")])
    assert (lab.shared / "of-all").exists()
    assert not (lab.home("root") / "of-root").exists()


def test_a_user_s_job_runs_as_that_user(lab: Lab) -> None:
    program = "import getpass, os; import cpivae; print(getpass.getuser(), os.getuid(), os.getgroups(), os.getcwd())"
    job = submit(lab, "-N2", "--wrap", f"srun {sys.executable} -c '{program}'", user="ada")
    done = lab.wait_for_job(job)
    assert done["UserId"] == "ada(20001)"
    home = lab.home("ada")
    output = home / f"slurm-{job}.out"
    assert output.read_text().splitlines() == [f"ada 20001 [20001] {home}"] * 2
    assert output.stat().st_uid == 20001


def test_users_are_closed_to_each_other_and_unknown_outside(lab: Lab) -> None:
    assert lab.run("n1", ["id", "--user", "bob"]).stdout == "20002\n"
    assert lab.run("n1", ["ls", str(lab.home("ada"))], user="bob", check=False).returncode == 2
    assert subprocess.run(["id", "bob"], capture_output=True).returncode == 1
    job = submit(lab, "--wrap", "sleep 60", user="ada")
    refused = lab.run(LOGIN, ["scancel", job], user="bob", check=False)
    assert "denied" in refused.stderr


def test_gpus_are_given_to_those_who_ask_for_them(lab: Lab) -> None:
    show = ["sh", "-c", 'echo "$(hostname) ${CUDA_VISIBLE_DEVICES-none}"']
    one_each = lab.run(LOGIN, ["srun", "-N2", "--gpus-per-node=1", *show]).stdout
    assert sorted(one_each.split("\n")) == ["", "n1 0", "n2 0"]
    both = lab.run(LOGIN, ["srun", "-w", "n1", "--gpus=2", *show]).stdout
    assert both == "n1 0,1\n"
    assert lab.run(LOGIN, ["srun", "-w", "n1", *show]).stdout == "n1 none\n"


def test_a_signal_reaches_the_command_inside(lab: Lab) -> None:
    process = lab.popen("n1", ["sh", "-c", "trap 'echo told; exit 3' USR2; echo ready; while :; do sleep 0.05; done"])
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR2)
    assert process.communicate(timeout=10)[0] == "told\n"
    assert process.returncode == 3


def test_a_command_that_takes_too_long_ends_with_all_that_it_started(lab: Lab) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        lab.run("n1", ["sh", "-c", "sleep 54321 & sleep 54321"], timeout=0.5)
    assert lab.run("n1", ["pgrep", "--full", "sleep 54321"], check=False).stdout == ""


def test_two_labs_do_not_see_each_other(lab: Lab, make_lab: MakeLab) -> None:
    other = make_lab(nodes=1)
    listen(other, "n1", "")
    assert call(other, LOGIN, "n1") == "answered"
    assert "refused" in call(lab, LOGIN, "n1")
    job = submit(other, "--wrap", "hostname", "--comment", "of the other lab")
    assert other.wait_for_job(job)["Comment"] == "of the other lab"
    assert "of the other lab" not in lab.run(LOGIN, ["squeue", "--states=all", "--format=%k"]).stdout


@pytest.mark.slow
def test_jobs_live_on_while_the_login_machine_is_off(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=1)
    job = submit(lab, "--wrap", "until test -e go-on; do sleep 0.1; done")
    lab.wait_for_job(job, ["RUNNING"])
    # A controller that is only killed forgets what it has not saved for half a minute, and starts the job once more.
    lab.run(LOGIN, ["scontrol", "shutdown", "slurmctld"])
    daemon = ["pgrep", "--exact", "slurmctld"]
    until(lambda: lab.run(LOGIN, daemon, check=False).returncode == 1, 20, lambda: "the controller does not end")
    lab.kill(LOGIN)
    assert "slurm_script" in lab.run("n1", ["ps", "-efww"]).stdout
    lab.bring_back(LOGIN)
    assert lab.job(job)["JobState"] == "RUNNING"
    (lab.shared / "go-on").touch()
    assert lab.wait_for_job(job)["Restarts"] == "0"


@pytest.mark.slow
def test_a_killed_node_is_noticed_and_comes_back(make_lab: MakeLab) -> None:
    lab = make_lab(settings=HASTY)
    job = submit(lab, "--requeue", "--wrap", "touch /tmp/mark /dev/shm/mark; sleep 60")
    lost = lab.wait_for_job(job, ["RUNNING"])["NodeList"]
    other = next(node for node in lab.nodes if node != lost)
    mark = ["test", "-e", "/dev/shm/mark"]
    until(lambda: lab.run(lost, mark, check=False).returncode == 0, 10, lambda: "the job does not begin")
    lab.kill(lost)
    lab.wait_for_node(lost, ["DOWN"])
    lab.wait_for_job(job, ["PENDING"])
    again = lab.wait_for_job(job, ["RUNNING"])
    assert (again["NodeList"], again["Restarts"]) == (other, "1")
    lab.bring_back(lost)
    assert lab.run(lost, ["ls", "/tmp/mark", "/dev/shm/mark"], check=False).stdout == "/tmp/mark\n"
    assert lab.run(LOGIN, ["srun", "-w", lost, "hostname"]).stdout == f"{lost}\n"


@pytest.mark.slow
def test_a_node_that_is_cut_off_lives_on_and_can_be_mended(make_lab: MakeLab) -> None:
    lab = make_lab(settings=HASTY)
    listen(lab, "n2", "")
    living = lab.popen("n2", ["sleep", "600"])
    assert call(lab, LOGIN, "n2") == "answered"
    lab.cut("n2")
    assert call(lab, "n2", "localhost") == "answered"
    assert call(lab, LOGIN, "n2") != "answered"
    assert "refused" in call(lab, "n1", "login"), "the others still reach each other"
    lab.wait_for_node("n2", ["DOWN"])
    assert living.poll() is None
    lab.mend("n2")
    lab.wait_for_node("n2", ["IDLE"])
    assert call(lab, LOGIN, "n2") == "answered"
    assert lab.run(LOGIN, ["srun", "-w", "n2", "hostname"]).stdout == "n2\n"
