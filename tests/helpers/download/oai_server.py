"""An OAI-PMH server with records of its own, and snapshots of given dates."""

import json

from tests.helpers.download.commands import RECORD
from tests.helpers.download.faulty_server import FaultyServer

IDS = ["2301.00001", "0704.0002", "hep-th/9901001", "2301.00003", "2301.00005", "2301.00006", "2301.00007"]


def raw_record(paper_id, datestamp="2023-06-01", title="A title", deleted=False, versions=2):
    status = ' status="deleted"' if deleted else ""
    header = (
        f"<header{status}><identifier>oai:arXiv.org:{paper_id}</identifier><datestamp>{datestamp}</datestamp></header>"
    )
    if deleted:
        return f"<record>{header}</record>"
    history = "".join(
        f'<version version="v{number}"><date>Tue, {number} Mar 2022 18:00:00 GMT</date><size>9kb</size></version>'
        for number in range(1, versions + 1)
    )
    return (
        f"<record>{header}<metadata><arXivRaw xmlns='http://arxiv.org/OAI/arXivRaw/'><id>{paper_id}</id>"
        f"<submitter>Someone</submitter>{history}<title>{title}</title><authors>A. Author</authors>"
        "<categories>math.NT cs.IT</categories><comments>10 pages &amp; more</comments>"
        "<license>http://creativecommons.org/licenses/by/4.0/</license><abstract>  It is shown.\n</abstract>"
        "</arXivRaw></metadata></record>"
    )


def oai_page(records, token=None, size=None):
    more = f'<resumptionToken completeListSize="{size}">{token or ""}</resumptionToken>' if size else ""
    return oai_answer(f"<ListRecords>{''.join(records)}{more}</ListRecords>")


def oai_answer(inner):
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">'
        f"<responseDate>2023-06-02T00:00:00Z</responseDate><request>x</request>{inner}</OAI-PMH>"
    ).encode()


class OaiServer(FaultyServer):
    """Pages of `records`, three a page; knows its own tokens alone."""

    def __init__(self, records):
        self.expired = False
        self.queries = []
        super().__init__(lambda path, query, headers: (200, {"Content-Type": "text/xml"}, self.page(query)))
        self.records = records

    def page(self, query):
        self.queries.append(query)
        token = query.get("resumptionToken")
        assert query["verb"] == "ListRecords" and (token is None) == ("metadataPrefix" in query)
        start = int(token.partition("|")[2]) if token else 0
        if token and self.expired:
            self.expired = False
            return oai_answer('<error code="badResumptionToken">expired</error>')
        following = start + 3
        token = f"key|{following}" if following < len(self.records) else None
        return oai_page(self.records[start:following], token, len(self.records))


def dated(folder, *days):
    lines = [{**RECORD, "id": f"2301.{number:05d}", "update_date": day} for number, day in enumerate(days, 1)]
    (folder / "snapshot.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


def begins(server):
    """From which day each list was asked for."""
    return [query.get("from") for query in server.queries if "resumptionToken" not in query]
