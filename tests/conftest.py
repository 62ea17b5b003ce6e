"""Fixtures that tests of several files share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def quick(monkeypatch):
    """Pauses after failures that a test can wait for."""
    from data_prep.fetch import bulk_tars, http_client

    monkeypatch.setattr(bulk_tars, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(bulk_tars, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(http_client, "LONGEST_PAUSE", 0.02)


@pytest.fixture(scope="session")
def s3():
    """moto's S3 server with the bucket `arxiv`."""
    server_module = pytest.importorskip("moto.server", reason="pip install -r tests/requirements.txt")
    import boto3

    from data_prep.fetch import bulk_tars
    from tests.helpers.download.s3_bucket import TARS, manifest

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    client.create_bucket(Bucket="arxiv")
    for key, data in {**TARS, bulk_tars.MANIFEST: manifest(TARS)}.items():
        client.put_object(Bucket="arxiv", Key=key, Body=data)
    yield url
    server.stop()


@pytest.fixture
def bucket(s3, monkeypatch, quick):
    """The same behind a server whose answers can be made to fail; boto3 finds it by the environment."""
    from tests.helpers.download.faulty_server import FaultyServer, in_front_of
    from tests.helpers.download.s3_bucket import CREDENTIALS

    with FaultyServer(in_front_of(s3), ranges=False) as server:
        for key, value in {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": server.url}.items():
            monkeypatch.setenv(key, value)
        yield server


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that SentencePiece and transformers read."""
    import sentencepiece

    from tests.helpers.tokenizer.known_tokenizers import PAPER
    from tokenizer.learn.hf_files import write_transformers_files

    folder = tmp_path_factory.mktemp("pair")
    (folder / "text").write_text(PAPER * 5)
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=400,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        pad_id=3,
        minloglevel=2,
    )
    write_transformers_files(folder)
    return folder
