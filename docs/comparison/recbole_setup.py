"""RecBole's datasets, configuration and figures files, shared by the scripts of this folder.

Runs in the environment of requirements.txt, not in the project's own. Everything that decides a
number (split, sampling of prefixes, model, loss, optimiser, evaluation) is RecBole's; this module
only hands it the raw interactions and says which of its options differ from its defaults.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import figures_files
import recbole
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataset import SequentialDataset
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.trainer import Trainer
from recbole.utils import get_model, get_trainer, init_logger, init_seed


@dataclass(frozen=True)
class Source:
    """One dataset: its k-core and the counts that RecBole must report after it."""

    core: int
    users: int
    items: int
    interactions: int


SOURCES = {
    "beauty": Source(core=7, users=4_322, items=2_423, interactions=60_276),
    "ml-100k": Source(core=5, users=943, items=1_349, interactions=99_287),
}


@dataclass(frozen=True)
class Run:
    """What RecBole needs to train: its own objects, built by its own functions."""

    config: Config
    dataset: SequentialDataset
    train: Any
    valid: Any
    test: Any
    model: SequentialRecommender
    trainer: Trainer


def machine() -> dict[str, Any]:
    """What the seconds were measured on and with, and RecBole's version."""
    return figures_files.machine() | {"recbole": recbole.__version__}


def _atomic_beauty(raw: Path, folder: Path) -> None:
    """Write the 5-core sequences as RecBole's atomic file, the position as the timestamp."""
    source = raw / "beauty" / "sequences.txt"
    if not source.is_file():
        raise SystemExit(f"{source} is missing: set FINDREC_RAW to the folder that holds beauty/")
    target = folder / "beauty" / "beauty.inter"
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(source) as lines, open(target, "w") as out:
        out.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for line in lines:
            user, *items = line.split()
            out.writelines(f"{user}\t{item}\t{place}\n" for place, item in enumerate(items))


def load_dataset(
    name: str, model: str, scratch: Path, seed: int, options: dict[str, Any]
) -> tuple[Config, SequentialDataset]:
    """RecBole's configuration and its filtered dataset, not yet ordered, augmented or split.

    `ml-100k` is the file inside RecBole's wheel (RecBole maps that name to it). The k-core is
    RecBole's own iterative filter. `options` are RecBole's option names; `scratch` takes its
    atomic files, logs and checkpoints.
    """
    source = SOURCES[name]
    if name == "beauty":
        raw = os.environ.get("FINDREC_RAW")
        if raw is None:
            raise SystemExit("set FINDREC_RAW to the folder that holds beauty/sequences.txt")
        _atomic_beauty(Path(raw).resolve(), scratch)
    interval = f"[{source.core},inf)"
    settings = {
        "data_path": str(scratch),
        "checkpoint_dir": str(scratch / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "user_inter_num_interval": interval,
        "item_inter_num_interval": interval,
        "MAX_ITEM_LIST_LENGTH": 50,
        "loss_type": "CE",
        "train_neg_sample_args": None,  # cross-entropy over all items needs no negatives
        "metrics": ["NDCG", "MRR", "Hit"],
        "topk": [5, 10],
        "valid_metric": "NDCG@10",
        "metric_decimal_place": 8,  # RecBole's default of 4 would round at the threshold
        "use_gpu": False,
        "seed": seed,
        "show_progress": False,
        "state": "WARNING",
        **options,
    }
    os.chdir(scratch)  # RecBole writes log/ and log_tensorboard/ into the working directory
    sys.argv = sys.argv[:1]  # and reads options of its own from the command line
    config = Config(model=model, dataset=name, config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    dataset = create_dataset(config)
    counts = (dataset.user_num - 1, dataset.item_num - 1, dataset.inter_num)  # less the padding id
    expected = (source.users, source.items, source.interactions)
    if counts != expected:
        raise SystemExit(
            f"{name}: users, items, interactions are {counts}, expected {expected}: "
            "the raw file is not the one that this comparison used"
        )
    return config, dataset


def prepare(name: str, model: str, scratch: Path, seed: int, options: dict[str, Any]) -> Run:
    """Everything up to the first optimiser step, in the order of RecBole's own `run_recbole`."""
    config, dataset = load_dataset(name, model, scratch, seed, options)
    train, valid, test = data_preparation(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    network = get_model(config["model"])(config, train.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
    trainer.eval_collector.data_collect(train)
    return Run(config, dataset, train, valid, test, network, trainer)


def train_step(run: Run, interaction: Any) -> float:
    """One optimiser step, as in `Trainer._train_epoch` without AMP or clipping (its defaults)."""
    interaction = interaction.to(run.config["device"])
    run.trainer.optimizer.zero_grad()
    loss = run.model.calculate_loss(interaction)
    value = float(loss.item())
    if value != value:
        raise SystemExit("the training loss is NaN")
    loss.backward()
    run.trainer.optimizer.step()
    return value
