"""What Prefect 1.4.1 does, row by row, what this provider does instead, and which tests show it.

    python -m tests.prefect1.rows [report.xml]

prints the table. A test shows a row if the row's id is in its name: ``test_c09_…``. With the report that pytest writes
(``--junitxml``) those tests have to have passed. It exits with 1 if a row is not shown.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

SAME, DIFFERENT, NONE = "same", "different", "not applicable"

GROUPS = {
    "H": ("HTTP", 21),
    "C": ("create_flow_run", 38),
    "W": ("wait_for_flow_run", 21),
    "G": ("get_task_run_result", 18),
    "S": ("StartFlowRun", 18),
    "R": ("RenameFlowRun", 6),
    "X": ("CancelFlowRun", 6),
}
"""The groups of rows, and how many rows were measured in each."""

FILES = "test_rows_*.py"


@dataclass(frozen=True)
class Row:
    """One behaviour of Prefect 1.4.1.

    :param behaviour: what the real client does.
    :param verdict: whether this provider does the same, as far as a user can tell; error texts are always our own.
    :param why: for a difference what is done instead, and why; for a row that does not apply why not.
    """

    id: str
    behaviour: str
    verdict: str = SAME
    why: str = ""


ROWS = (
    Row("H01", "requests go to the API URL itself, whatever path it has"),
    Row(
        "H02",
        "variables are sent as the text of a JSON object",
        DIFFERENT,
        "They are sent as an object, as GraphQL's own convention over HTTP has it; the server takes both.",
    ),
    Row(
        "H03",
        "key, tenant and client version are sent as headers, and own headers do not replace them",
        DIFFERENT,
        "The version of a client that this is not is not sent; headers of the connection win, for proxies.",
    ),
    Row("H04", "key and tenant are sent to a Core server too"),
    Row(
        "H05",
        "key and tenant come from arguments, configuration, environment or a file",
        DIFFERENT,
        "They come from the Airflow connection and nowhere else: what a worker's environment holds decides nothing.",
    ),
    Row("H06", "a tenant id that is no UUID is refused before any request"),
    Row(
        "H07",
        "the tenant is asked for when it is needed, and its absence is an error",
        DIFFERENT,
        "A flow run tells its own tenant, so it is never asked for; only the test of a connection does.",
    ),
    Row("H08", "without a configured tenant no request of a wait names one"),
    Row("H09", "a request may take 15 seconds", DIFFERENT, "30 seconds, or what the connection says."),
    Row(
        "H10",
        "a request is sent again up to six times after 5xx and lost connections, mutations too",
        DIFFERENT,
        "It is sent again until a patience in seconds ends; mutations too, the same key making it one run.",
    ),
    Row(
        "H11",
        "after a 429 it sleeps for minutes, up to six times",
        DIFFERENT,
        "As long as the server's Retry-After asks, or some seconds; minutes only where the server says so.",
    ),
    Row(
        "H12",
        "a 400 shows its reasons, the document and the variables",
        DIFFERENT,
        "Only the reasons: variables may hold secrets, and a task's log is read by many.",
    ),
    Row(
        "H13",
        "401, 403 and 404 are bare HTTP errors",
        DIFFERENT,
        "They have names of their own; a refused key is not tried again, and in a wait they may pass.",
    ),
    Row(
        "H14",
        "an answer that is no JSON is an error at once",
        DIFFERENT,
        "Half an answer is asked for again; a web page is an error at once that says what is there.",
    ),
    Row(
        "H15",
        "API_ERROR in an answer is asked again for 16 seconds",
        DIFFERENT,
        "It is asked again for as long as any other trouble is waited out.",
    ),
    Row("H16", "any errors in an answer are raised; what is about the key has a class of its own"),
    Row(
        "H17",
        "API errors are exceptions of one family, but final states are no exceptions of Python's Exception",
        DIFFERENT,
        "All is of one family, PrefectError: an operator's failure has to be an Exception.",
    ),
    Row("H18", "errors come as 400, as 200 with null, and as 200 without data"),
    Row("H19", "a document deeper than seven levels is refused"),
    Row(
        "H20",
        "an id that is no UUID is refused by the server, in the words of its database",
        DIFFERENT,
        "It is refused before anything is sent, by the argument's name.",
    ),
    Row("H21", "a Core server knows no keys and no auth_info"),
    Row("C01", "an id and a name together are refused before any request"),
    Row("C02", "neither an id nor a name is refused before any request"),
    Row("C03", "the id may be a flow's or a flow group's, whose newest version is meant"),
    Row("C04", "an unknown id is an error"),
    Row(
        "C05",
        "an id that is no text is refused before any request",
        DIFFERENT,
        "A UUID is taken as its text.",
    ),
    Row(
        "C06",
        "an id that is no UUID comes back from the server as an error",
        DIFFERENT,
        "It is refused before anything is sent.",
    ),
    Row("C07", "an archived version is not started by its id"),
    Row("C08", "a name is looked for in all projects, among what is not archived"),
    Row(
        "C09",
        "several flows of that name are an error",
        DIFFERENT,
        "The error lists the projects; several versions of one flow are not several flows: the newest is started.",
    ),
    Row(
        "C10",
        "project_name tells flows apart, and None means a flow without project",
        DIFFERENT,
        "None means any project, as leaving an argument out says; there are no flows without a project.",
    ),
    Row("C11", "a name that is not found is an error"),
    Row(
        "C12",
        "an answer without flows is an error at once",
        DIFFERENT,
        "It is taken for trouble that may pass, and is asked again.",
    ),
    Row(
        "C13",
        "a storage or run config of an unknown type is in the way",
        DIFFERENT,
        "Neither is read, so that flows of any version can be started.",
    ),
    Row("C14", "a child is named <current run>-<flow>, with an empty name too"),
    Row("C15", "outside a run the server makes a name"),
    Row("C16", "outside a run an empty name is none"),
    Row(
        "C17",
        "renaming the parent does not change the names of later children",
        NONE,
        "A Dag run has the name that it has: it cannot be renamed.",
    ),
    Row(
        "C18",
        "two lines of the log tell of the creation, one with the URL",
        DIFFERENT,
        "One line with name and URL, which also says whether the run is new or gone on with.",
    ),
    Row(
        "C19",
        "the key is by default that of the task run, with the index of a mapped one",
        DIFFERENT,
        "It is made of Dag, run, task, map index and try, so that a retry may start anew.",
    ),
    Row(
        "C20",
        "without a key a random one is sent",
        DIFFERENT,
        "The operator always has its own key, which a try sent twice has in common; the hook draws one.",
    ),
    Row("C21", "the same key finds the same run, other parameters or not"),
    Row("C22", "a key counts for one version of a flow"),
    Row("C23", "a timedelta or Duration counts from now"),
    Row("C24", "a datetime without zone is in UTC"),
    Row(
        "C25",
        "a text is no time",
        DIFFERENT,
        "ISO 8601 text is one, since templates give text; any other is refused with a sentence.",
    ),
    Row("C26", "without a time a run is due now"),
    Row("C27", "without labels those of the flow group or flow count"),
    Row(
        "C28",
        "labels may be an empty list, a list or a tuple, but no set",
        DIFFERENT,
        "A set too; one text alone is refused, since it would count letter by letter.",
    ),
    Row(
        "C29",
        "a run config without labels drops those of the flow",
        DIFFERENT,
        "The flow's labels are sent with it, since nobody asks for a run that no agent takes; labels=[] drops them.",
    ),
    Row(
        "C30",
        "a run config is an object of Prefect's, and a mapping an error",
        DIFFERENT,
        "It is a mapping with its type, as Prefect is not installed beside Airflow.",
    ),
    Row("C31", "labels do not change the run config's own"),
    Row("C32", "parameters are laid over the group's and the flow's"),
    Row("C33", "a required parameter that is missing is refused by the server"),
    Row("C34", "a parameter that is no JSON is refused before any request"),
    Row(
        "C35",
        "the context is kept as given",
        DIFFERENT,
        "As given, and with the key airflow, by which a retry knows its runs.",
    ),
    Row(
        "C36",
        "the URL is looked up after the creation, so that a run may exist although the task fails",
        DIFFERENT,
        "Nothing is asked for the URL: the run itself tells its tenant.",
    ),
    Row("C37", "the URL is <UI>/<tenant>/flow-run/<id>, with the UI derived from a hosted API"),
    Row("C38", "a run begins Scheduled, with a Pending task run for each task"),
    Row(
        "W01",
        "by default states are shown, logs are not, failures are no failures, and 12 hours are waited",
        DIFFERENT,
        "The same is shown; failures are failures, and a sensor's own timeout counts.",
    ),
    Row("W02", "the run is returned as it is after the wait", DIFFERENT, "As plain JSON, since an XCom has to be."),
    Row(
        "W03",
        "a line of the flow is shown at its own level, behind the run's name",
        DIFFERENT,
        "At its own level, with its own time and its task run: the task's log is of one run only.",
    ),
    Row(
        "W04",
        "of a finished run only its age is told, and no logs",
        DIFFERENT,
        "Its state, and its logs if they are wanted.",
    ),
    Row(
        "W05",
        "every state is shown, also two alike",
        DIFFERENT,
        "The state at each look: asking for all states each time would cost more than lines in a log are worth.",
    ),
    Row(
        "W06",
        "states and lines are shown in the order of their times",
        DIFFERENT,
        "Lines are in that order, each with its time; states are shown as soon as they are seen.",
    ),
    Row("W07", "lines are shown without states too"),
    Row(
        "W08",
        "lines that arrive late are lost",
        DIFFERENT,
        "They are looked for again, both behind younger ones and after the end.",
    ),
    Row("W09", "it looks every 2 seconds", DIFFERENT, "Every 10 seconds, or as asked from 3 on."),
    Row("W10", "it sleeps once more after the end", DIFFERENT, "It returns at once."),
    Row(
        "W11",
        "a run that no agent takes is warned about after 15 seconds, and every 30",
        DIFFERENT,
        "Once, 60 seconds after it should have started: a flow's process takes longer than 15.",
    ),
    Row(
        "W12",
        "the warning counts healthy agents and those with the labels",
        DIFFERENT,
        "It says which of two it is: no agent has the labels, or none that has them asks for work.",
    ),
    Row(
        "W13",
        "a bad answer about agents fails the wait",
        DIFFERENT,
        "The warning then has no reason, and the wait goes on.",
    ),
    Row("W14", "the time limit counts what was slept", DIFFERENT, "It counts wall-clock time, also over a deferral."),
    Row("W15", "the time limit does not cancel the run"),
    Row(
        "W16",
        "raise_final_state raises a signal for the final state",
        DIFFERENT,
        "Failure raises FlowRunFailed unless fail_on_unsuccessful=False; success returns.",
    ),
    Row(
        "W17",
        "a cancelled or timed out run is a ValueError then",
        DIFFERENT,
        "Cancelled is FlowRunCancelled, which is not retried; TimedOut is FlowRunFailed.",
    ),
    Row(
        "W18",
        "without it a failed or cancelled run is a success of the wait",
        DIFFERENT,
        "It is a failure, since Airflow goes on after a success; fail_on_unsuccessful=False is the old way.",
    ),
    Row("W19", "an unknown run is an error"),
    Row("W20", "a run without state is pending"),
    Row(
        "W21",
        "any error of the API fails the wait",
        DIFFERENT,
        "What may pass is waited out for max_unreachable seconds.",
    ),
    Row("G01", "an empty slug is refused before any request"),
    Row("G02", "the current run is refused", NONE, "An Airflow task runs in no flow run."),
    Row(
        "G03",
        "it waits for the end, looking every 5 seconds or as often as asked, without limit",
        DIFFERENT,
        "Every 10 seconds or as asked from 3 on, and with a timeout if one is given.",
    ),
    Row(
        "G04",
        "results of a run that has failed are read too",
        DIFFERENT,
        "Only with fail_on_unsuccessful=False: by default a failed run fails the task.",
    ),
    Row("G05", "of a mapped task all children's values are a list in their order"),
    Row(
        "G06",
        "a map index gives that child, and None the whole",
    ),
    Row("G07", "an unknown slug or index is an error"),
    Row("G08", "a slug is the task's name with a number, a parameter's its name alone"),
    Row("G09", "a task run that is not finished is an error"),
    Row("G10", "a task run that never ran is an error"),
    Row("G11", "a result without location is an error"),
    Row("G12", "a Result class of somebody's own is an error"),
    Row("G13", "a mapped task without children, or with unfinished or failed ones, is an error"),
    Row(
        "G14",
        "the value is read where the task runs, from any file",
        DIFFERENT,
        "Only under the connection's result_roots: a path that a server tells is not trusted.",
    ),
    Row(
        "G15",
        "a debug line names the Result class",
        NONE,
        "A line about that client's own doing, without a counterpart.",
    ),
    Row("G16", "a PrefectResult carries its value, a parameter's too"),
    Row(
        "G17",
        "a file's serializer is not stored, and cloudpickle is assumed",
        DIFFERENT,
        "Pickles of plain data are read without running anything in them, and JSON; whatever names a class is refused.",
    ),
    Row("G18", "there is no class ImmutableResult", NONE, "It says what is not there."),
    Row(
        "S01",
        "flow and project have to be named",
        DIFFERENT,
        "The flow has to; a project only where several have such a flow.",
    ),
    Row("S02", "an empty name is looked for", DIFFERENT, "It is refused before anything is sent."),
    Row("S03", "a flow that is not found is an error"),
    Row("S04", "the newest version that is not archived is started"),
    Row(
        "S05",
        "arguments of run() replace those of the constructor",
        NONE,
        "An operator has its constructor's arguments only; what is known later comes through templates.",
    ),
    Row(
        "S06",
        "poll_interval under 3 seconds is refused, waiting or not",
        DIFFERENT,
        "Only where it counts: when the operator waits.",
    ),
    Row(
        "S07",
        "a task among the parameters is refused when the task is made",
        DIFFERENT,
        "When it runs, and before anything is sent: until then it may be an XCom's reference.",
    ),
    Row("S08", "the task is named after the flow", NONE, "Airflow wants a task_id of every task."),
    Row(
        "S09",
        "the default key leaves the map index out",
        DIFFERENT,
        "It has the index in it, so that every mapped task instance has a run of its own.",
    ),
    Row(
        "S10",
        "no name from the parent, no labels, no timedelta",
        DIFFERENT,
        "All three: one operator has what the two tasks have.",
    ),
    Row(
        "S11",
        "a link artifact is created at the task run",
        DIFFERENT,
        "The task instance has a button that opens the same page; Prefect is asked nothing for it.",
    ),
    Row(
        "S12",
        "an artifact that cannot be created fails the task after the run was created",
        DIFFERENT,
        "The link is an XCom and cannot fail.",
    ),
    Row("S13", "without wait the id is returned"),
    Row(
        "S14",
        "with wait it sleeps before each look, without limit, logs and warnings",
        DIFFERENT,
        "It looks first; timeout, logs and warnings are those of the sensor.",
    ),
    Row(
        "S15",
        "the final state is raised as a signal, success too",
        DIFFERENT,
        "Success returns the id; anything else raises an error that names state, message and page.",
    ),
    Row(
        "S16",
        "a cancelled or timed out child is a ValueError",
        DIFFERENT,
        "Cancelled is FlowRunCancelled, TimedOut is FlowRunFailed.",
    ),
    Row(
        "S17",
        "a retry mirrors the old run again",
        DIFFERENT,
        "A retry goes on with a run that lives or has completed, and starts another after a failure.",
    ),
    Row("S18", "a run that vanishes is an error"),
    Row(
        "R01",
        "without an id the current flow run is renamed",
        DIFFERENT,
        "The id has to be given: which run is meant is never guessed.",
    ),
    Row("R02", "without a name it is an error before any request"),
    Row("R03", "an empty name is refused"),
    Row(
        "R04",
        "an unknown run is False and no error",
        DIFFERENT,
        "It is FlowRunNotFound: nobody looks at a task's False.",
    ),
    Row("R05", "a finished run can be renamed"),
    Row(
        "R06",
        "what the constructor got is not enough in a flow",
        DIFFERENT,
        "The constructor's arguments are all that there is.",
    ),
    Row(
        "X01",
        "without an id the current flow run is cancelled, and without one it is an error",
        DIFFERENT,
        "The id has to be given.",
    ),
    Row(
        "X02",
        "the name of the resulting state is returned",
        DIFFERENT,
        "Its type, in capitals, which is the same on all of Prefect's APIs.",
    ),
    Row("X03", "a run that does not run yet is Cancelled at once, a running one Cancelling"),
    Row("X04", "a finished run stays as it is"),
    Row("X05", "a second cancel writes a second state", DIFFERENT, "A run that is stopping already is left alone."),
    Row("X06", "an unknown run is an error"),
)


def tests_by_row(directory: Path) -> dict[str, list[str]]:
    """The names of the tests that show each row, as ``file::test``; a name may have several ids."""
    found = defaultdict(list)
    for file in sorted(directory.glob(FILES)):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for row_id in ids_in(node.name):
                    found[row_id].append(f"{file.stem}::{node.name}")
    return dict(found)


def ids_in(test: str) -> list[str]:
    """The ids that the name of a test begins with: ``test_c09_c10_…`` has two."""
    ids = []
    for word in test.split("_")[1:]:
        if not re.fullmatch(r"[hcwgsrx]\d\d", word):
            break
        ids.append(word.upper())
    return ids


def passed(report: Path) -> set[str]:
    """The tests that have passed with all of their parameters, by a report in JUnit's form."""
    good, bad = set(), set()
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name', '').partition('[')[0]}"
        (bad if any(case.find(kind) is not None for kind in ("failure", "error", "skipped")) else good).add(name)
    return good - bad


def faults(tests: Mapping[str, Iterable[str]], good: set[str] | None) -> list[str]:
    """What is wrong with the table, in sentences; nothing if every row is shown."""
    said = [f"{row.id} has no test." for row in ROWS if row.verdict != NONE and not list(tests.get(row.id, ()))]
    said += [f"{row.id} does not say why." for row in ROWS if row.verdict != SAME and not row.why]
    said += [f"{row_id} is no row, but has tests." for row_id in sorted(tests.keys() - {row.id for row in ROWS})]
    if good is not None:
        said += [
            f"{row_id}: {test} has not passed." for row_id, names in tests.items() for test in names if test not in good
        ]
    return said


def table(tests: Mapping[str, Iterable[str]]) -> str:
    """The rows with their verdicts and tests, to be printed."""
    lines = []
    for letter, (title, _) in GROUPS.items():
        lines += ["", f"{title} ({letter})"]
        for row in (row for row in ROWS if row.id.startswith(letter)):
            lines.append(f"  {row.id}  {row.verdict:<14}  {row.behaviour}")
            if row.why:
                lines += textwrap.wrap(row.why, 96, initial_indent=" " * 23, subsequent_indent=" " * 23)
            lines += [f"{'':23}{test.partition('::')[2]}" for test in tests.get(row.id, ())]
    counts = Counter(row.verdict for row in ROWS)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in (SAME, DIFFERENT, NONE))
    return "\n".join([*lines, "", f"{len(ROWS)} rows: {told}."])


def main(*reports: str) -> int:
    """Print the table, and what is missing."""
    tests = tests_by_row(Path(__file__).parent)
    good = set().union(*(passed(Path(report)) for report in reports)) if reports else None
    print(table(tests))
    wrong = faults(tests, good)
    print("missing: none" if not wrong else "missing:\n" + "\n".join(f"  {sentence}" for sentence in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
