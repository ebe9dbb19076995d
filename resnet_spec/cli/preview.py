"""``resnet-spec preview``: a page that follows specs while they are edited."""

from __future__ import annotations

import click

from resnet_spec.errors import one_line
from resnet_spec.errors.extras import require


@click.command()
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="any free port", help="The port.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
def preview(specs: tuple[str, ...], port: int, opens: bool) -> None:
    """Show specs on a page that follows their files: mistakes, a drawing, a summary, what differs from the base.

    Edit the files with any editor; what is saved is shown at once. The page is served on this machine only, until
    Ctrl-C.
    """
    require("reports", "the preview", "jinja2")
    from resnet_spec.document.files import read
    from resnet_spec.preview.server import PreviewServer
    from resnet_spec.preview.watching import Watched
    from resnet_spec.spec.catalog import Catalog

    if "-" in specs:
        raise click.UsageError("the preview follows files, not standard input")
    paths = list(dict.fromkeys(map(Catalog.shipped().locate, specs)))
    for path in paths:
        if not path.is_file():
            # Reports why.
            read(path)
    watched = Watched(paths)
    with PreviewServer(watched, port) as server:
        click.echo(one_line(f"{server.address} shows {', '.join(map(str, paths))}; Ctrl-C ends it"))
        watched.start()
        try:
            if opens:
                click.launch(server.address)
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            # The way in which it is meant to end.
            click.echo()
        finally:
            watched.end()
