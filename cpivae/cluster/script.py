"""The batch script of a job, as text: a pure function of what is asked.  Every value is quoted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import join, quote

from cpivae import __version__
from cpivae.cluster.node import NO_HEAD
from cpivae.config.slurm import SlurmSettings, fits_into_a_line
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.ray_environment import LOOPBACK


@dataclass(frozen=True)
class Job:
    """A sweep as a job of SLURM."""

    settings: SlurmSettings
    name: str
    """Of the sweep."""
    sweep: Path
    """Its folder; absolute, as all paths here."""
    directory: Path
    """Where the command line was given."""
    command: Sequence[str]
    """What follows ``cpivae``: ``tune`` and its options."""
    python: str
    """The interpreter, or the name that the settings' ``env`` lines give it."""
    reads: Sequence[Path] = ()
    """Files and folders that it reads, beside its own."""

    def folders(self) -> list[Path]:
        """Return the folders that hold all that it reads and writes, none within another."""
        found = {self.sweep, self.directory, *(path if path.is_dir() else path.parent for path in self.reads)}
        return sorted(one for one in found if not any(one != other and one.is_relative_to(other) for other in found))


def problems_of(job: Job) -> list[str]:
    """Say what a batch script cannot hold; the settings of the job are checked when they are read."""
    problems = []
    if not fits_into_a_line(str(job.sweep)):
        problems.append(
            f"the sweep's folder {str(job.sweep)!r} has a line break or another control character in its path, where "
            "SLURM's options must be one line: give another --output_dir"
        )
    if job.settings.container:
        problems += [
            f"{path} has a comma, a colon or a backslash in its path, which a container's list of folders cannot hold: "
            "give it another name"
            for path in map(str, job.folders())
            if set(path) & set(",:\\")
        ]
    return problems


def batch_script(job: Job) -> str:
    """Return the script that ``sbatch`` takes, of a job without problems."""
    settings = job.settings
    directives = "\n".join(f"#SBATCH {option}" for option in options(job))
    return f"""#!/bin/bash
# The sweep {_comment(job.name)}, by cpivae {__version__}. Its trials run on all nodes of this job. Given to sbatch
# again, it goes on where it was.
{directives}

# The driver is asked to stop before the time is up, and when the job is to be preempted or cancelled; from the very
# beginning, because a signal that is not waited for ends the job.  Only the first of these is followed by another start
# of our own: SLURM itself queues a preempted job again.
driver='' asked=''
trap 'asked=again; [ -z "$driver" ] || kill -USR1 "$driver"' USR1
trap 'asked=end; [ -z "$driver" ] || kill -USR1 "$driver"' TERM

ulimit -c 0  # the memory of a process that crashes holds the token of the cluster
cd -- {quote(str(job.directory))} || exit 2
{_environment(settings)}
sweep={quote(str(job.sweep))}
job=$sweep/{SweepFolder(job.sweep).cluster.name}
run=$SLURM_JOB_ID-${{SLURM_RESTART_COUNT:-0}}
python=({join([*settings.container, job.python])})
export CPIVAE_RAY_TEMP=/tmp/cpivae.j$run CPIVAE_RAY_ADDRESS_FILE=$job/address-$run
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$job/token-$SLURM_JOB_ID
unset RAY_AUTH_TOKEN  # Ray would take it for this job's
{_loopback(settings)}{_binds(job)}\
[ -n "$asked" ] || (umask 077 && mkdir -p "$job" && "${{python[@]}}" -m cpivae.cluster.token) || exit 2

# Ray: the head on the first node, a worker on every other one. A node that is lost takes no other one with it.
ray=''
if [ -z "$asked" ]; then
  srun --export=ALL --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \\
    --no-kill --kill-on-bad-exit=0 --wait=0 "${{python[@]}}" -m cpivae.cluster.node >> "$job/ray-$run.log" 2>&1 &
  ray=$!
fi
status=75
until [ -s "$CPIVAE_RAY_ADDRESS_FILE" ] || [ -n "$asked" ]; do
  kill -0 "$ray" 2>/dev/null || {{ echo "Ray does not start: $job/ray-$run.log says why"; status=1; break; }}
  sleep 0.2
done
address=$(cat "$CPIVAE_RAY_ADDRESS_FILE" 2>/dev/null)
[ "$address" != {NO_HEAD} ] || {{ echo "Ray does not start: $job/ray-$run.log says why"; status=1; }}

if [ -z "$asked" ] && [ "$status" = 75 ]; then
  "${{python[@]}}" -m cpivae {_command(job)} \\
    --resume --address "$address" --nodes "$SLURM_JOB_NUM_NODES" &
  driver=$!
  while :; do  # a signal ends the waiting, not the driver
    wait "$driver"; status=$?
    kill -0 "$driver" 2>/dev/null || break
  done
  driver=''
fi

# Without an address Ray ends on every node; a node that is lost would be waited for in vain.
rm -f "$RAY_AUTH_TOKEN_PATH"
for _ in {{1..60}}; do rm -f "$CPIVAE_RAY_ADDRESS_FILE"; kill -0 "$ray" 2>/dev/null || break; sleep 0.5; done
kill "$ray" 2>/dev/null
wait "$ray" 2>/dev/null
restarts=${{SLURM_RESTART_COUNT:-0}}
if [ "$asked" != end ] &&
  "${{python[@]}}" -m cpivae.cluster.again "$sweep" "$SLURM_JOB_ID" "$status" "$restarts" {settings.max_requeues}; then
  scontrol requeue "$SLURM_JOB_ID" && sleep 600  # SLURM ends this script
fi
exit "$status"
"""


def options(job: Job) -> Iterator[str]:
    """Yield the options of sbatch, quoted as it reads them from a script."""
    settings = job.settings
    log = SweepFolder(job.sweep).cluster / "job-%j.log"
    gpus = f"gpu:{settings.gpu_type}:{settings.gpus_per_node}" if settings.gpu_type else f"gpu:{settings.gpus_per_node}"
    requeue = settings.max_requeues > 0
    named = {
        "job-name": f"cpivae-{job.name}",
        "output": f"{pattern_of(log.parent)}/{log.name}",
        "open-mode": "append",
        "nodes": settings.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": settings.cpus_per_node,
        "gres": gpus if settings.gpus_per_node else None,
        "mem": settings.mem_per_node,
        "time": settings.time,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "signal": f"B:USR1@{max(1, round(60 * settings.warn_minutes))}",
    }
    for name, value in named.items():
        if value is not None:
            yield sbatch_word(f"--{name}={value}")
    yield "--requeue" if requeue else "--no-requeue"
    yield "--no-kill"
    yield from map(sbatch_word, settings.extra)


def pattern_of(path: Path) -> str:
    """Return a path as a pattern of sbatch, where % begins what is filled in."""
    return str(path).replace("%", "%%")


def sbatch_word(word: str) -> str:
    r"""Quote a word for a line of ``#SBATCH``, where blanks and # end a word, and \ and quotes have their own rules.

    >>> print(sbatch_word("--job-name=it's #1"))
    "--job-name=it's #1"
    """
    if "\n" in word or "\0" in word:
        raise ValueError(f"{word!r} does not fit into a line")
    plain = all(c.isalnum() or c in "-_=/.,:@%+" for c in word)
    return word if plain else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _environment(settings: SlurmSettings) -> str:
    lines = [f"module load {quote(name)}" for name in settings.modules]
    prepared = False
    for line in settings.env:
        if line.lstrip().startswith("conda activate") and not prepared:
            prepared = True
            lines.append('eval "$(conda shell.bash hook)"  # conda activate is a function of interactive shells')
        lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def _loopback(settings: SlurmSettings) -> str:
    if settings.nodes > 1:
        return ""
    (setting,) = (f"{name}={value}" for name, value in LOOPBACK.items())
    return f"export {setting}  # on one node Ray is bound to loopback\n"


def _binds(job: Job) -> str:
    if not job.settings.container:
        return ""
    folders = quote(",".join(map(str, job.folders())))
    staged = ',"${TMPDIR:-/tmp}"' if job.settings.stage_data else ""
    return (
        f"bound={folders}{staged}\n"
        # Each program reads the other's variable where its own is not set.
        "apptainer=${APPTAINER_BIND:-$SINGULARITY_BIND} singularity=${SINGULARITY_BIND:-$APPTAINER_BIND}\n"
        "export APPTAINER_BIND=${apptainer:+$apptainer,}$bound SINGULARITY_BIND=${singularity:+$singularity,}$bound\n"
    )


def _command(job: Job) -> str:
    return join(job.command) + (' --stage_data "${TMPDIR:-/tmp}"' if job.settings.stage_data else "")


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
