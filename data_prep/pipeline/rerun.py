"""What each stage depends on (its knobs, its modules, its input), and so what a rerun must do again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from common.paths import project_path
from common.provenance import file_state, fingerprint, module_hashes, package_versions
from common.settings.data import DataSettings
from data_prep.papers.archives import source_files
from data_prep.pipeline.plan import Job

# Knobs of data.* by stage. Where files lie and how many processes work changes no output; every knob not named here
# belongs to the papers, so that a new one is safe without being listed.
METADATA_KNOBS = (
    *("categories", "primary_category_only", "year_min", "year_max", "licenses", "drop_withdrawn"),
    "abstract_min_chars",
)
COLLECTION_KNOBS = (
    *("near_duplicates", "near_duplicate_similarity", "val_fraction", "split_seed"),
    *("max_val_overlap", "benchmarks", "max_benchmark_overlap", "contaminated"),
    *("output_file_bytes", "compress", "limit", "months", "reject_samples", "shard_papers"),
)
NEUTRAL_KNOBS = ("metadata", "source", "out", "workers")


def knobs(settings: DataSettings, stage: str) -> dict[str, Any]:
    """The knobs of one stage: "metadata", "papers" or "collection"."""
    values = dataclasses.asdict(settings)
    if stage == "papers":
        named = METADATA_KNOBS + COLLECTION_KNOBS + NEUTRAL_KNOBS
        return {key: value for key, value in values.items() if key not in named}
    return {key: values[key] for key in {"metadata": METADATA_KNOBS, "collection": COLLECTION_KNOBS}[stage]}


# The first modules of each stage; what they import belongs to it.
MODULES = {
    "metadata": ("data_prep.pipeline.catalog",),
    "sources": ("data_prep.papers.archives",),
    "papers": ("data_prep.pipeline.shards",),
    "collection": ("data_prep.dedup.assign", "data_prep.dedup.decontaminate"),
    "writing": ("data_prep.pipeline.write_splits", "common.samples"),
    "report": ("data_prep.pipeline.stages", "data_prep.pipeline.summary"),
}
# The stages of which --accept-stale reuses what other code has made.
STALE_STAGES = ("metadata", "sources", "papers")
# Packages whose versions can change a paper's text or reason.
PACKAGES = ("langdetect", "numpy")


def run_inputs(job: Job) -> dict[str, Any]:
    """All but the code that decides about the output; needs no more than the state of each input file."""
    sources = hashlib.sha256()
    for path in source_files(job.source):
        sources.update(repr((str(path.relative_to(job.source)), file_state(path))).encode())
    return {
        "metadata": [str(job.metadata), file_state(job.metadata)],
        "source": [str(job.source), sources.hexdigest()],
        "knobs": [knobs(job.settings, stage) for stage in ("metadata", "papers", "collection")],
        "benchmarks": benchmarks_state(job),
        "append": job.append,
    }


def code_of_today(job: Job) -> dict[str, Any]:
    """Modules and packages, and which stages may have been made by others."""
    return {
        "modules": [module_hashes(roots) for roots in MODULES.values()],
        "packages": package_versions(PACKAGES),
        "accept_stale": job.accept_stale,
    }


def run_identity(inputs: Mapping[str, Any], code: Mapping[str, Any]) -> str:
    """Fingerprint of all that decides about the output."""
    return fingerprint({**inputs, **code})


def finished_by_other_code(job: Job, inputs: Mapping[str, Any]) -> bool:
    """Whether the dataset in OUT is finished, and nothing but the code has changed since."""
    try:
        manifest = json.loads((job.out / "manifest.json").read_bytes())
        code = {
            "modules": list(manifest["modules"].values()),
            "packages": manifest["packages"],
            "accept_stale": manifest["accepted_stale"],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or damaged: then it is not finished
        return False
    return already_finished(job, run_identity(inputs, code))


def benchmarks_state(job: Job) -> str | None:
    from data_prep.dedup.ngram_table import questions_state

    return questions_state(project_path(job.settings.benchmarks)) if job.settings.benchmarks else None


def papers_stage(job: Job) -> str:
    """Fingerprint of what the processing of all papers depends on."""
    return fingerprint(
        {
            "knobs": knobs(job.settings, "papers"),
            "modules": module_hashes(MODULES["papers"]),
            "packages": package_versions(PACKAGES),
        }
    )


def already_finished(job: Job, identity: str) -> bool:
    try:
        finished = json.loads(job.finished.read_bytes())
        return finished["identity"] == identity and all(
            file_state(job.out / name) == state for name, state in finished["outputs"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or damaged: then it is not finished
        return False
