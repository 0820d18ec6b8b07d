#!/usr/bin/env bash
# Trains an ASR and a TTS model on each other's outputs. All that is done here: make the environment, hand over to Python.
# The lines that start with "#:" are the help text; a test compares it with the options that Python knows.
#
#: usage: ./run.sh [options] [-- key=value ...]
#:
#: Trains a speech recogniser and a synthesiser on each other's outputs. The first call sets up the environment.
#: A stage that is finished is skipped; after an interruption the same command goes on where it was.
#:
#:   --corpus NAME       a folder of egs/ (default: mini)
#:   --data DIR          the corpus as its upstream ships it (without it, a recipe that may download does so)
#:   --exp DIR           where the experiment goes (default: exp/<corpus> beside this script)
#:   --recipe NAME       a file of conf/recipes/ (default: cycle)
#:   --controls a,b|all  also train control systems: more_steps, pseudo_only, tts_only, lm, oracle (default: none)
#:   --jobs N            how many control systems train side by side (default: 1)
#:   --stage N           first stage (default: 1)
#:   --stop-stage N      last stage (default: 7)
#:   --rounds N          how many rounds (default: the corpus's or preset's)
#:   --device NAME       auto, cpu or cuda (default: auto)
#:   --cluster NAME      the exchange on conf/cluster/NAME.yaml: local, slurm, pbs, sge (default: this process)
#:   --redo              forget the stages from --stage on and run them again, with settings that may have changed
#:   --help              show this help
#:   -- key=value ...    settings of conf/base.yaml, such as seed=2, preset=smoke, pools.paired=250
#:
#: stages: 1 prepare, 2 tokens, 3 pretrain, 4 rounds, 5 decode, 6 score, 7 report
#:
#: examples:
#:   ./run.sh                                            the whole cycle on the corpus `mini`
#:   ./run.sh --exp exp/smoke -- preset=smoke            the same in two minutes, to see every stage work
#:   ./run.sh --corpus hsk --data DIR --controls all     real speech, with every control system
#:
#: environment: CYCLE_VENV (the Python environment, default: .venv), PYTHON (an interpreter to make it from)
set -euo pipefail
root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

for word in "$@"; do
  case $word in
    --) break ;;
    -h | --help)
      sed -n 's/^#: \{0,1\}//p' "$root/run.sh"
      exit 0
      ;;
  esac
done

python=$("$root/tools/install.sh")
# PYTHONSAFEPATH keeps the caller's folder, where relative paths start, out of what can be imported.
PYTHONSAFEPATH=1 PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m cycle run "$@"
