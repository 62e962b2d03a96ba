"""The subcommands of `medllmseg`: one file each, whose `add_parser` says what it takes and which
function it calls.
"""
