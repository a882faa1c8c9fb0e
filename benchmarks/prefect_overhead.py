"""What Prefect adds to a clip: the flow beside the same functions called directly, in the same process, in turns.

    ./dyad benchmark prefect_overhead [--repeats 7] [--clip FILE]

Without PREFECT_API_URL the flow uses a temporary server, whose start is the cold part.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.common import header, make_parser, print_table, run_directly, timed
from data.sample import sample_clip
from flows.server.prefect_setup import has_server, without_heartbeats


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clip", type=Path, default=sample_clip())
    options = parser.parse_args(arguments)
    print(header(), "; server:", "yes" if has_server() else "temporary", end="\n\n")
    from flows.video import recognise_video

    with tempfile.TemporaryDirectory() as folder, without_heartbeats():
        output = Path(folder)

        def flow() -> None:
            recognise_video(options.clip, output=output, fresh=True)

        def skipped() -> None:
            recognise_video(options.clip, output=output)

        models = timed(lambda: run_directly(options.clip, output))
        cold = timed(flow)
        pairs = [(timed(lambda: run_directly(options.clip, output)), timed(flow)) for _ in range(options.repeats)]
        direct, through = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
        again = median(timed(skipped) for _ in range(options.repeats))
    print_table(
        ["what", "seconds"],
        [
            ("directly, first time (loads the models)", models),
            ("directly, warm", direct),
            ("flow, first time in the process (starts or finds the server)", cold),
            ("flow, warm", through),
            ("Prefect adds, warm", median(flow - plain for plain, flow in pairs)),
            ("flow when all is done already", again),
        ],
    )


if __name__ == "__main__":
    main()
