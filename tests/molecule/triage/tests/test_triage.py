"""Two triages could look at everything (their exit code), and left nothing behind on any host."""


def test_nothing_was_changed(before, after):
    assert after == before


def test_nothing_was_left_on_the_host(host):
    assert not host.file("/var/lib/andon").exists and not host.file("/run/andon").exists
