from interlock.cli.verb import nearest


def test_names_what_looks_alike() -> None:
    assert nearest("imgae", ["mask", "image"]) == "; did you mean image?"


def test_says_nothing_where_nothing_looks_alike() -> None:
    assert nearest("q", ["mask", "image"]) == ""
