#!/usr/bin/env bash
# From nothing to imputed samples, on real SomaScan data: about two minutes on two CPU cores once installed.
# bash scripts/demo.sh [FOLDER]: where to put everything, by default a new folder below demo_output/.
set -euo pipefail
out="${1:+$(realpath -m "$1")}"
cd "$(dirname "$0")/.."
. scripts/venv.sh

out="${out:-demo_output/$(date +%Y%m%d-%H%M%S)}"
data="$out/data"

say() { printf '\n== %s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

say "1. A real pair of 170 plasma samples: one SomaScan reagent of 4,721 proteins (b), another one of some (a)"
run cpivae example somascan --output_dir "$data"

say "2. A sweep: Optuna proposes 16 settings of joint_vae, ASHA stops the hopeless ones"
run cpivae tune --config default --search_space joint_vae \
  --platform_a "$data/platform_a.csv" --platform_b "$data/platform_b.csv" \
  --n_trials 16 --max_epochs 40 --output_dir "$out" --study_name sweep

say "3. The best settings once more, this time with a look at the test samples"
run cpivae train --config "$out/sweep/best_config.yaml" \
  --platform_a "$data/platform_a.csv" --platform_b "$data/platform_b.csv" \
  --output_dir "$out" --experiment_name best --version run

say "4. The best trial as a bundle that anyone can use"
run cpivae export --sweep "$out/sweep" --output "$out/bundle"

say "5. Platform B imputed from platform A"
run cpivae impute --experiment_dir "$out/bundle" --input_data "$data/platform_a.csv" \
  --source_platform a --target_platform b --output "$out/imputed_b.csv"

say "Everything is in $out"
cat <<END
  data/                    the two tables, and what is known of the samples
  sweep/trials.csv         every trial with its score
  sweep/report.html        all of it on one page, to open in a browser
  sweep/best_config.yaml   the best settings
  best/run/                a run folder: metrics.csv, test_metrics.json, checkpoints, TensorBoard logs
  bundle/README.md         what the model can and cannot do
  imputed_b.csv            the imputed table
Look at the learning curves with: .venv/bin/tensorboard --logdir $out
END
