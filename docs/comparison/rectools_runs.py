"""Train one RecTools model and record its validation NDCG@10 under both protocols.

Model, loss, optimiser, batches and padding are RecTools's (`fit_partial`); this script hands it the
training part that `rectools_ours.py split` exported, and ranks the validation targets by the scores
of its session and item vectors. Runs in the environment of requirements-rectools.txt.

    python rectools_runs.py --dataset ml-100k --model SASRec --scratch DIR

Metrics are computed here by a formula of their own; `rectools_ours.py compare` computes them again
from the stored ranks with this project's code. There are no test items in the exported files.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rectools
import torch
from figures_files import FIGURES, Split, machine, read_split, write_json
from pytorch_lightning import Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel
from rectools.models.nn.transformers.base import TransformerModelBase

MODELS: dict[str, type[TransformerModelBase]] = {"SASRec": SASRecModel, "BERT4Rec": BERT4RecModel}
PROTOCOLS = ("kept", "left out")


def interactions(user: np.ndarray, items: np.ndarray, weight: np.ndarray) -> Dataset:
    """RecTools's dataset of sequences; the three are [M], a user's items in the order of time."""
    table = {
        Columns.User: user,
        Columns.Item: items,
        Columns.Weight: weight,
        Columns.Datetime: pd.to_datetime(np.arange(len(user)), unit="s"),  # the order alone counts
    }
    return Dataset.construct(pd.DataFrame(table))


def whole_sequences(split: Split) -> Dataset:
    """Every user's training sequence, of which RecTools trains on the last window alone."""
    user = np.repeat(np.arange(len(split.offsets) - 1), np.diff(split.offsets))
    return interactions(user, split.items, np.ones(len(user)))


def windows(split: Split, once: bool) -> Dataset:
    """This project's training windows, each as a user of its own.

    once: give a target that an earlier window of the same user has counted the weight 0, so that
    every training transition counts once, as in this project's causal objective; its cloze, like
    RecTools's, masks the last 50 items of any window.
    """
    row, place = np.nonzero(split.windows)
    counted = np.ones(split.windows.shape)
    if once:
        counted[:, 1:] = np.arange(split.windows.shape[1] - 1) >= split.first_target[:, None]
    return interactions(row, split.windows[row, place], counted[row, place])


@dataclass
class Standing:
    """Of every user, items above the validation target and others equal to it; all [U]."""

    above: np.ndarray
    equal: np.ndarray
    above_left_out: np.ndarray
    equal_left_out: np.ndarray

    def of(self, protocol: str) -> tuple[np.ndarray, np.ndarray]:
        if protocol == "kept":
            return self.above, self.equal
        return self.above_left_out, self.equal_left_out

    def ndcg(self, protocol: str, k: int = 10) -> float:
        """Mean over users of NDCG@k in expectation over ties: one relevant item has 1 / log2(r + 1)
        at place r, and a target that ties stands at any of the tied places with the same chance."""
        above, equal = self.of(protocol)
        places = above[:, None] + np.arange(1, k + 1)  # further ones lie beyond the cut-off
        possible = (places <= (above + equal + 1)[:, None]) & (places <= k)
        return float(((possible / np.log2(places + 1)).sum(1) / (equal + 1)).mean())


@torch.no_grad()
def stand(model: TransformerModelBase, split: Split, asked: Dataset) -> Standing:
    """Ranks of the validation targets among all items, by the model's session and item vectors.

    Items that RecTools does not know from its training data score -inf: it cannot recommend them.
    """
    preparator, lightning = model.data_preparator, model.lightning_model
    users = np.arange(len(split.target))
    known = preparator.transform_dataset_u2i(asked, users)
    loader = preparator.get_dataloader_recommend(known, model.recommend_batch_size)
    sessions, table = lightning._get_user_item_embeddings(loader, "cpu")
    places = preparator.get_known_items_sorted_internal_ids()
    scores = torch.full((len(users), split.n_items), -torch.inf)
    columns = torch.as_tensor(preparator.get_known_item_ids().astype(np.int64) - 1)
    rows = torch.as_tensor(known.user_id_map.external_ids.astype(np.int64))
    scores[rows[:, None], columns] = sessions @ table[places].T
    own = scores[torch.as_tensor(users), torch.as_tensor(split.target - 1)][:, None]
    above, equal = scores > own, scores == own
    equal[torch.as_tensor(users), torch.as_tensor(split.target - 1)] = False
    counts = [above.sum(1).numpy(), equal.sum(1).numpy()]
    user = np.repeat(users, np.diff(split.offsets))
    met = torch.zeros_like(above)
    met[torch.as_tensor(user), torch.as_tensor(split.items - 1)] = True  # the whole history
    counts += [(part & ~met).sum(1).numpy() for part in (above, equal)]
    return Standing(*counts)


def listed_ndcg(model: TransformerModelBase, split: Split, asked: Dataset, left_out: bool) -> float:
    """Mean NDCG@10 of RecTools's own lists of ten, for a check of `stand`."""
    lists = model.recommend(
        np.arange(len(split.target)), asked, k=10, filter_viewed=left_out, add_rank_col=True
    )
    hit = lists[Columns.Item].to_numpy() == split.target[lists[Columns.User].to_numpy()]
    rank = lists[Columns.Rank].to_numpy()[hit]
    return float((1 / np.log2(rank + 1)).sum() / len(split.target))


def build(arguments: argparse.Namespace) -> TransformerModelBase:
    if arguments.mask_prob is not None and arguments.model != "BERT4Rec":
        raise SystemExit("--mask-prob is for BERT4Rec alone; leave it out")
    own = {} if arguments.mask_prob is None else {"mask_prob": arguments.mask_prob}
    return MODELS[arguments.model](
        n_blocks=2,
        n_heads=2,
        n_factors=64,
        session_max_len=50,
        loss="softmax",
        lr=arguments.lr,
        dropout_rate=arguments.dropout,
        batch_size=arguments.batch,
        use_key_padding_mask=arguments.model == "BERT4Rec" or arguments.key_padding_mask,
        get_trainer_func=quiet_trainer,
        recommend_torch_device="cpu",
        recommend_batch_size=512,
        **own,
    )


def quiet_trainer() -> Trainer:
    """As RecTools makes it, on the CPU and without a log."""
    return Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


def train(
    model: TransformerModelBase,
    split: Split,
    record: dict[str, Any],
    path: Path,
    ranks: Path,
    arguments: argparse.Namespace,
) -> None:
    """Train until neither protocol finds a new best for `patience` evaluations, or the limit."""
    once = arguments.model != "BERT4Rec"
    fed = windows(split, once) if arguments.feed == "windows" else whole_sequences(split)
    asked = whole_sequences(split)
    curve: list[dict[str, Any]] = record["curve"]
    best: dict[str, dict[str, Any]] = record["best"]
    kept: dict[str, np.ndarray] = {}
    training = evaluation = 0.0
    while record["status"] == "running":
        started = time.process_time()
        model.fit_partial(fed, min_epochs=arguments.eval_every, max_epochs=arguments.eval_every)
        training += time.process_time() - started
        started = time.process_time()
        standing = stand(model, split, asked)
        evaluation += time.process_time() - started
        assert model.fit_trainer is not None
        point: dict[str, Any] = {
            "epoch": len(curve) * arguments.eval_every + arguments.eval_every,
            "step": model.fit_trainer.global_step,
            "train_cpu_s": round(training, 2),
            "eval_cpu_s": round(evaluation, 2),
            **{f"ndcg@10 {name}": standing.ndcg(name) for name in PROTOCOLS},
        }
        curve.append(point)
        for name in PROTOCOLS:
            value = point[f"ndcg@10 {name}"]
            if value > best.get(name, {"ndcg@10": -1.0})["ndcg@10"]:
                best[name] = {"ndcg@10": value, "step": point["step"], "at": len(curve)}
                kept[f"{name} above"], kept[f"{name} equal"] = standing.of(name)
        if len(curve) - max(best[name]["at"] for name in PROTOCOLS) >= arguments.patience:
            record["status"] = "plateau"
        elif training + evaluation >= 60 * arguments.limit_minutes:
            record["status"] = "limit"
        np.savez(ranks, **kept)
        write_json(path, record)
        print(point, flush=True)
    record["lists_ndcg@10_less_ours"] = {
        name: listed_ndcg(model, split, asked, name == "left out") - curve[-1][f"ndcg@10 {name}"]
        for name in PROTOCOLS
    }
    write_json(path, record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", choices=("ml-100k", "beauty"), required=True)
    parser.add_argument("--model", choices=sorted(MODELS), required=True)
    parser.add_argument("--feed", choices=("whole", "windows"), default="whole")
    parser.add_argument("--lr", type=float, default=1e-3, help="RecTools's default 1e-3")
    parser.add_argument("--dropout", type=float, default=0.2, help="RecTools's default 0.2")
    parser.add_argument("--batch", type=int, default=128, help="RecTools's default 128")
    parser.add_argument("--mask-prob", type=float, help="BERT4Rec's; RecTools's default 0.15")
    parser.add_argument(
        "--key-padding-mask", action="store_true", help="SASRec attends to no padding"
    )
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--eval-every", type=int, default=1, help="epochs")
    parser.add_argument("--patience", type=int, default=8, help="evaluations without a new best")
    parser.add_argument("--limit-minutes", type=float, default=15, help="of process CPU time")
    parser.add_argument("--scratch", type=Path, required=True, help="the exported split, and ranks")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    tag = f"{arguments.feed}-b{arguments.batch}-lr{arguments.lr:g}-d{arguments.dropout:g}"
    if arguments.mask_prob is not None:
        tag += f"-m{arguments.mask_prob:g}"
    if arguments.key_padding_mask:
        tag += "-kpm"
    name = f"rectools-{arguments.dataset}-{arguments.model}-{tag}"
    path, ranks = FIGURES / f"{name}.json", arguments.scratch / f"{name}.npz"
    settings = {key: value for key, value in vars(arguments).items() if key != "scratch"}
    if path.exists() and ranks.exists():
        earlier = json.loads(path.read_text())
        if earlier["status"] != "running" and earlier["settings"] == settings:
            print(f"{path.name} is complete")
            return
    split = read_split(arguments.scratch, arguments.dataset)
    seed_everything(arguments.seed, verbose=False)
    model = build(arguments)
    record: dict[str, Any] = {
        "run": name,
        "status": "running",
        "settings": settings,
        "rectools": rectools.__version__,
        "machine": machine(),
        "best": {},
        "curve": [],
    }
    train(model, split, record, path, ranks, arguments)


if __name__ == "__main__":
    main()
