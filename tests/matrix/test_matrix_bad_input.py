# ruff: noqa: E501 - messages stand here as they are printed
"""Bad matrix files and, word for word, what is said of them."""

from __future__ import annotations

import pytest
from inline_snapshot import snapshot

from vep_dagger.errors import MatrixError
from vep_dagger.matrix import Document, Matrix, MatrixProblemsError, expand

SERVE = '[serve]\nmodel = "m"\n'
BENCH = '[[bench]]\nname = "b"\ninput_len = 1\noutput_len = 1\nnum_prompts = 1\n'
RECIPE = 'recipe = "vllm-ep"\n'
AXES = '[axes]\nvllm = ["0.10", "0.11"]\nall2all = ["pplx", "naive"]\n'

CASES: dict[str, tuple[str, str]] = {
    "not TOML": (
        "recipe = vllm-ep\n",
        snapshot("""\
error: not TOML: invalid value
  --> matrix.toml:1:10
   |
 1 | recipe = vllm-ep
   |          ^
  help: text stands in quotes, a list in [ ], a table in { } on one line; true and false are in lower case\
"""),
    ),
    "a version without quotes": (
        RECIPE + "[pins]\nvllm = 0.10.1\n",
        snapshot("""\
error: not TOML: expected newline or end of document after a statement
  --> matrix.toml:3:12
   |
 3 | vllm = 0.10.1
   |            ^
  help: text stands in quotes, a list in [ ], a table in { } on one line; true and false are in lower case\
"""),
    ),
    "a list that is left open": (
        RECIPE + '[axes]\nvllm = ["1",\n\n',
        snapshot("""\
error: not TOML: invalid value
  --> matrix.toml:3:12
   |
 3 | vllm = ["1",
   |            ^
  help: text stands in quotes, a list in [ ], a table in { } on one line; true and false are in lower case\
"""),
    ),
    "a table over several lines": (
        RECIPE + "[axes]\nt = {\n  a = {},\n}\n",
        snapshot("""\
error: this is not TOML 1.0
  --> matrix.toml:3:6
   |
 3 | t = {
   |      ^
  help: text stands in quotes, a list in [ ], a table in { } on one line; true and false are in lower case\
"""),
    ),
    "a key that is set twice": (
        RECIPE + 'recipe = "x"\n',
        snapshot("""\
error: 'recipe' is set twice
  --> matrix.toml:2:1
   |
 2 | recipe = "x"
   | ^^^^^^
  help: it is first set in line 1\
"""),
    ),
    "an empty file": (
        "",
        snapshot("""\
error: the file has no 'recipe'
  --> matrix.toml:1:1
  help: add recipe = "vllm-ep"\
"""),
    ),
    "what is of servers, in a file without [serve]": (
        RECIPE + "[axes]\nnodes = [1, 2]\n[axes.t.a]\nenv = { A = '1' }\n[gates]\np99_ttft_ms = 1\n",
        snapshot("""\
error: axes.nodes is of servers, and the file has no [serve]
  --> matrix.toml:3:1
   |
 3 | nodes = [1, 2]
   | ^^^^^
  help: add a table [serve] with the model, or leave this out: then images are built, and nothing is served

error: axes.t.a.env is of servers, and the file has no [serve]
  --> matrix.toml:5:1
   |
 5 | env = { A = '1' }
   | ^^^
  help: add a table [serve] with the model, or leave this out: then images are built, and nothing is served

error: gates is of servers, and the file has no [serve]
  --> matrix.toml:6:2
   |
 6 | [gates]
   |  ^^^^^
  help: add a table [serve] with the model, or leave this out: then images are built, and nothing is served

3 problems in matrix.toml\
"""),
    ),
    "an unknown table": (
        RECIPE + "[axs]\n" + SERVE,
        snapshot("""\
error: unknown key 'axs'
  --> matrix.toml:2:2
   |
 2 | [axs]
   |  ^^^
  help: did you mean 'axes'?\
"""),
    ),
    "an unknown key of a table": (
        RECIPE + SERVE + "data_paralel = 8\n",
        snapshot("""\
error: unknown key 'data_paralel'
  --> matrix.toml:4:1
   |
 4 | data_paralel = 8
   | ^^^^^^^^^^^^
  help: did you mean 'data_parallel'?\
"""),
    ),
    "an unknown key of an inline table": (
        RECIPE + "[axes.t]\na = { evn = { A = '1' } }\n" + SERVE,
        snapshot("""\
error: unknown key 'evn'
  --> matrix.toml:3:7
   |
 3 | a = { evn = { A = '1' } }
   |       ^^^
  help: did you mean 'env'?\
"""),
    ),
    "an unknown key of a choice's serve": (
        RECIPE + "[axes.t]\na.serve.nods = 2\n" + SERVE,
        snapshot("""\
error: unknown key 'nods'
  --> matrix.toml:3:9
   |
 3 | a.serve.nods = 2
   |         ^^^^
  help: did you mean 'nodes'?\
"""),
    ),
    "an unknown deadline": (
        RECIPE + SERVE + "[smoke]\ndeadlines = { weigths = 1 }\n",
        snapshot("""\
error: unknown key 'weigths'
  --> matrix.toml:5:15
   |
 5 | deadlines = { weigths = 1 }
   |               ^^^^^^^
  help: did you mean 'weights'?\
"""),
    ),
    "an unknown key of a workload": (
        RECIPE + SERVE + BENCH + "num_prompt = 2\n",
        snapshot("""\
error: unknown key 'num_prompt'
  --> matrix.toml:9:1
   |
 9 | num_prompt = 2
   | ^^^^^^^^^^
  help: did you mean 'num_prompts'?\
"""),
    ),
    "a key of another table": (
        RECIPE + SERVE + "repeats = 5\n",
        snapshot("""\
error: unknown key 'repeats'
  --> matrix.toml:4:1
   |
 4 | repeats = 5
   | ^^^^^^^
  help: 'repeats' is a key of [[bench]]\
"""),
    ),
    "a key of the file in a table": (
        SERVE + RECIPE,
        snapshot("""\
error: the file has no 'recipe'
  --> matrix.toml:1:1
  help: add recipe = "vllm-ep"

error: unknown key 'recipe'
  --> matrix.toml:3:1
   |
 3 | recipe = "vllm-ep"
   | ^^^^^^
  help: 'recipe' stands at the top of the file, before the first table

2 problems in matrix.toml\
"""),
    ),
    "text for a number": (
        RECIPE + SERVE + 'data_parallel = "8"\n',
        snapshot("""\
error: serve.data_parallel: expected a whole number, got text
  --> matrix.toml:4:17
   |
 4 | data_parallel = "8"
   |                 ^^^
  help: write 8, without quotes\
"""),
    ),
    "a number for text": (
        RECIPE + "[pins]\nvllm = 0.10\n" + SERVE,
        snapshot("""\
error: pins.vllm: expected text or a table, got a number
  --> matrix.toml:3:8
   |
 3 | vllm = 0.10
   |        ^^^^
  help: write it in quotes\
"""),
    ),
    "text for true": (
        RECIPE + SERVE + 'expert_parallel = "yes"\n',
        snapshot("""\
error: serve.expert_parallel: expected true or false, got text
  --> matrix.toml:4:19
   |
 4 | expert_parallel = "yes"
   |                   ^^^^^\
"""),
    ),
    "a number for a variable": (
        RECIPE + SERVE + "[serve.env]\nA = 1\n",
        snapshot("""\
error: serve.env.A: expected text, got a whole number
  --> matrix.toml:5:5
   |
 5 | A = 1
   |     ^
  help: write it in quotes\
"""),
    ),
    "a date for a flag": (
        RECIPE + SERVE + "[serve.args]\nx = 2020-01-01\n",
        snapshot("""\
error: serve.args.x: expected text, a number, true or false, or a list of texts, got a date or time
  --> matrix.toml:5:5
   |
 5 | x = 2020-01-01
   |     ^^^^^^^^^^\
"""),
    ),
    "a number in a list of texts": (
        RECIPE + SERVE + '[serve.args]\nx = ["a", 1]\n',
        snapshot("""\
error: serve.args.x: expected text, got a whole number
  --> matrix.toml:5:11
   |
 5 | x = ["a", 1]
   |           ^
  help: write it in quotes\
"""),
    ),
    "a number that is none": (
        RECIPE + SERVE + "[gates]\np99_ttft_ms = nan\n",
        snapshot("""\
error: gates.p99_ttft_ms: expected a finite number, got nan or inf
  --> matrix.toml:5:15
   |
 5 | p99_ttft_ms = nan
   |               ^^^\
"""),
    ),
    "a number that is too small": (
        RECIPE + SERVE + "nodes = 0\n",
        snapshot("""\
error: serve.nodes: must be at least 1, got 0
  --> matrix.toml:4:9
   |
 4 | nodes = 0
   |         ^\
"""),
    ),
    "one bracket for a list of tables": (
        RECIPE + SERVE + BENCH.replace("[[bench]]", "[bench]"),
        snapshot("""\
error: bench: expected a list, got a table
  --> matrix.toml:4:2
   |
 4 | [bench]
   |  ^^^^^
  help: write its header with two brackets: [[…]]\
"""),
    ),
    "two brackets for a table": (
        RECIPE + "[[serve]]\nmodel = 'm'\n",
        snapshot("""\
error: serve: expected a table, got a list
  --> matrix.toml:2:3
   |
 2 | [[serve]]
   |   ^^^^^
  help: write its header with one bracket: […]\
"""),
    ),
    "a word of none of the known": (
        RECIPE + SERVE + "[[bench]]\nname = 'b'\ndataset = 'randon'\ninput_len = 1\noutput_len = 1\nnum_prompts = 1\n",
        snapshot("""\
error: bench.dataset: unknown word 'randon'
  --> matrix.toml:6:11
   |
 6 | dataset = 'randon'
   |           ^^^^^^^^
  help: did you mean 'random'?\
"""),
    ),
    "a missing key of a workload": (
        RECIPE + SERVE + "[[bench]]\nname = 'b'\ninput_len = 1\noutput_len = 1\n",
        snapshot("""\
error: [[bench]] has no 'num_prompts'
  --> matrix.toml:4:3
   |
 4 | [[bench]]
   |   ^^^^^
  help: add num_prompts = …\
"""),
    ),
    "a pin's name": (
        RECIPE + '[pins]\n"a b" = "1"\n' + SERVE,
        snapshot("""\
error: 'a b' cannot be a name
  --> matrix.toml:3:1
   |
 3 | "a b" = "1"
   | ^^^^^
  help: a name is made of letters, digits, '.', '_' and '-', begins with a letter or digit, and has at most 64 characters\
"""),
    ),
    "a variable's name": (
        RECIPE + SERVE + '[serve.env]\n"A-B" = "1"\n',
        snapshot("""\
error: 'A-B' cannot be a variable's name
  --> matrix.toml:5:1
   |
 5 | "A-B" = "1"
   | ^^^^^
  help: a variable's name is made of letters, digits and '_', and does not begin with a digit\
"""),
    ),
    "a secret": (
        RECIPE + SERVE + '[serve.env]\nHF_TOKEN = "hf_x"\n',
        snapshot("""\
error: HF_TOKEN is a secret and cannot stand in a matrix file
  --> matrix.toml:5:1
   |
 5 | HF_TOKEN = "hf_x"
   | ^^^^^^^^
  help: export it where vep runs\
"""),
    ),
    "a NUL": (
        RECIPE + SERVE + '[serve.env]\nA = "\\u0000"\n',
        snapshot("""\
error: serve.env.A holds a NUL character
  --> matrix.toml:5:5
   |
 5 | A = "\\u0000"
   |     ^^^^^^^^\
"""),
    ),
    "an axis without choices": (
        RECIPE + "[axes]\nvllm = []\n" + SERVE,
        snapshot("""\
error: axis 'vllm' has no choices
  --> matrix.toml:3:8
   |
 3 | vllm = []
   |        ^^\
"""),
    ),
    "a named axis without choices": (
        RECIPE + "[axes.t]\n" + SERVE,
        snapshot("""\
error: axis 't' has no choices
  --> matrix.toml:2:2
   |
 2 | [axes.t]
   |  ^^^^^^\
"""),
    ),
    "an axis that is no list": (
        RECIPE + "[axes]\nvllm = '1'\n" + SERVE,
        snapshot("""\
error: axes.vllm: expected a list of choices, or a table of named choices, got text
  --> matrix.toml:3:8
   |
 3 | vllm = '1'
   |        ^^^\
"""),
    ),
    "an axis that nothing uses": (
        RECIPE + "[axes]\nvlm = ['1']\n" + SERVE,
        snapshot("""\
error: nothing uses the axis 'vlm'
  --> matrix.toml:3:1
   |
 3 | vlm = ['1']
   | ^^^
  help: did you mean 'vllm'? a list is for a pin, a switch or a key of [serve]; a table of choices may have any name\
"""),
    ),
    "an axis with a word of the include": (
        RECIPE + "[axes.env]\na = {}\n" + SERVE,
        snapshot("""\
error: an axis cannot be called 'env'
  --> matrix.toml:2:7
   |
 2 | [axes.env]
   |       ^^^
  help: give it another name: in [[include]] this word stands for what is set\
"""),
    ),
    "an axis of a pin with numbers": (
        RECIPE + "[axes]\nvllm = [0.10]\n" + SERVE,
        snapshot("""\
error: vllm: expected text, got a number
  --> matrix.toml:3:9
   |
 3 | vllm = [0.10]
   |         ^^^^
  help: write "0.10"; a version is text, since 0.10 and 0.1 are the same number\
"""),
    ),
    "an axis of a switch with text": (
        RECIPE + "[axes]\ndeep_gemm = ['on']\n" + SERVE,
        snapshot("""\
error: axes.deep_gemm: expected true or false, got text
  --> matrix.toml:3:14
   |
 3 | deep_gemm = ['on']
   |              ^^^^\
"""),
    ),
    "an axis of a key of serve": (
        RECIPE + "[axes]\nnodes = [1, 0]\n" + SERVE,
        snapshot("""\
error: axes.nodes: must be at least 1, got 0
  --> matrix.toml:3:13
   |
 3 | nodes = [1, 0]
   |             ^\
"""),
    ),
    "a choice twice": (
        RECIPE + '[axes]\ndeep_gemm = [true, false, true]\nvllm = ["1", 1]\n' + SERVE,
        snapshot("""\
error: axis 'deep_gemm' has the choice 'true' twice
  --> matrix.toml:3:27
   |
 3 | deep_gemm = [true, false, true]
   |                           ^^^^
  help: remove one of them

error: axis 'vllm' has the choice '1' twice
  --> matrix.toml:4:14
   |
 4 | vllm = ["1", 1]
   |              ^
  help: remove one of them: "1" and 1 have the same label

2 problems in matrix.toml\
"""),
    ),
    "slugs that collide": (
        RECIPE + '[axes]\nvllm = ["1/2", "1-2"]\n' + SERVE,
        snapshot("""\
error: two cells have the slug 'vllm1-2': (vllm=1/2) and (vllm=1-2)
  --> matrix.toml:3:16
   |
 3 | vllm = ["1/2", "1-2"]
   |                ^^^^^
  help: rename '1/2' or '1-2' of 'vllm'; in a slug every character but A-Z a-z 0-9 . _ - is a '-', and capitals do not count\
"""),
    ),
    "an unknown pin": (
        RECIPE + "[pins]\nvlm = '1'\n" + SERVE,
        snapshot("""\
error: recipe 'vllm-ep' has no pin 'vlm'
  --> matrix.toml:3:1
   |
 3 | vlm = '1'
   | ^^^
  help: did you mean 'vllm'?\
"""),
    ),
    "an exclude of no axis": (
        RECIPE + AXES + "[[exclude]]\nal2all = 'pplx'\n" + SERVE,
        snapshot("""\
error: there is no axis 'al2all'
  --> matrix.toml:6:1
   |
 6 | al2all = 'pplx'
   | ^^^^^^
  help: did you mean 'all2all'?\
"""),
    ),
    "an exclude of no choice": (
        RECIPE + AXES + "[[exclude]]\nall2all = 'plx'\n" + SERVE,
        snapshot("""\
error: axis 'all2all' has no choice 'plx'
  --> matrix.toml:6:11
   |
 6 | all2all = 'plx'
   |           ^^^^^
  help: did you mean 'pplx'?\
"""),
    ),
    "an empty exclude": (
        RECIPE + AXES + "[[exclude]]\n" + SERVE,
        snapshot("""\
error: this exclude names no axis
  --> matrix.toml:5:3
   |
 5 | [[exclude]]
   |   ^^^^^^^
  help: name at least one axis and its choice\
"""),
    ),
    "an exclude that matches nothing": (
        RECIPE + AXES + "[[exclude]]\nvllm = '0.10'\n[[exclude]]\nvllm = '0.10'\nall2all = 'pplx'\n" + SERVE,
        snapshot("""\
error: this exclude matches no cell
  --> matrix.toml:7:3
   |
 7 | [[exclude]]
   |   ^^^^^^^
  help: the excludes before it have removed all that it names\
"""),
    ),
    "all cells excluded": (
        RECIPE + AXES + "[[exclude]]\nvllm = '0.10'\n[[exclude]]\nvllm = '0.11'\n" + SERVE,
        snapshot("""\
error: the excludes leave no cell
  --> matrix.toml:7:3
   |
 7 | [[exclude]]
   |   ^^^^^^^
  help: remove one of them\
"""),
    ),
    "an include of no axis": (
        RECIPE + AXES + "[[include]]\nal2all = 'pplx'\n" + SERVE,
        snapshot("""\
error: 'al2all' is neither an axis nor something that an include sets
  --> matrix.toml:6:1
   |
 6 | al2all = 'pplx'
   | ^^^^^^
  help: did you mean 'all2all'?\
"""),
    ),
    "an include of no choice of a named axis": (
        RECIPE + "[axes.t]\nfast = {}\n[[include]]\nt = 'fats'\n" + SERVE,
        snapshot("""\
error: axis 't' has no choice 'fats'
  --> matrix.toml:5:5
   |
 5 | t = 'fats'
   |     ^^^^^^
  help: did you mean 'fast'?\
"""),
    ),
    "an empty include": (
        RECIPE + AXES + "[[include]]\n" + SERVE,
        snapshot("""\
error: this include sets nothing
  --> matrix.toml:5:3
   |
 5 | [[include]]
   |   ^^^^^^^
  help: name a choice and what it sets\
"""),
    ),
    "an include that sets nothing": (
        RECIPE + AXES + "[[include]]\nvllm = '0.10'\n" + SERVE,
        snapshot("""\
error: this include sets nothing new
  --> matrix.toml:5:3
   |
 5 | [[include]]
   |   ^^^^^^^
  help: add what it sets (env, args, serve, pins), or remove it\
"""),
    ),
    "an include that sets what is so": (
        RECIPE + AXES + "[[include]]\nvllm = '0.10'\nserve = { nodes = 1 }\n" + SERVE,
        snapshot("""\
error: this include sets nothing new
  --> matrix.toml:5:3
   |
 5 | [[include]]
   |   ^^^^^^^
  help: the cells that it fits have all of it already\
"""),
    ),
    "an include that fits nothing and is none": (
        RECIPE + "[axes.t]\na = { env = { A = '1' } }\n[[include]]\nenv = { A = '2' }\n" + SERVE,
        snapshot("""\
error: this include fits no cell, and names no axis to make a new cell of
  --> matrix.toml:4:3
   |
 4 | [[include]]
   |   ^^^^^^^
  help: an include cannot overwrite what an axis' choice sets; name the choice of a new cell, or change the axis\
"""),
    ),
    "an include that contradicts its choice": (
        RECIPE + "[axes.t]\na = { env = { A = '1' } }\n[[include]]\nt = 'a'\nenv = { A = '2' }\n" + SERVE,
        snapshot("""\
error: this include fits no cell, and cannot be one: t=a sets env.A to '1', the include itself to '2'
  --> matrix.toml:4:3
   |
 4 | [[include]]
   |   ^^^^^^^
  help: an include cannot overwrite what an axis' choice sets\
"""),
    ),
    "choices that contradict": (
        RECIPE + "[axes.s]\na = { env = { X = '1' } }\n[axes.t]\nb = { env = { X = '2' } }\n" + SERVE,
        snapshot("""\
error: s=a sets env.X to '1', and t=b sets it to '2'
  --> matrix.toml:5:5
   |
 5 | b = { env = { X = '2' } }
   |     ^^^^^^^^^^^^^^^^^^^^^
  help: set it in one of the axes 's' and 't' only, or exclude these choices together\
"""),
    ),
    "a flag in two spellings": (
        RECIPE + SERVE + "[serve.args]\nmax-len = 1\n[axes.t.a]\nargs = { max_len = 2 }\n",
        snapshot("""\
error: 'max_len' and 'max-len' are the same flag
  --> matrix.toml:7:10
   |
 7 | args = { max_len = 2 }
   |          ^^^^^^^
  help: line 5 has 'max-len'; write it the same everywhere\
"""),
    ),
    "a value in two types": (
        RECIPE + "[axes.t]\na = { args = { x = 1 } }\nb = { args = { x = true } }\n" + SERVE,
        snapshot("""\
error: args.x is true here and 1 elsewhere
  --> matrix.toml:4:20
   |
 4 | b = { args = { x = true } }
   |                    ^^^^
  help: line 3 has 1; write it the same everywhere\
"""),
    ),
    "two workloads of one name": (
        RECIPE + SERVE + BENCH + BENCH.replace('"b"', '"B"'),
        snapshot("""\
error: two [[bench]] are called 'B'
  --> matrix.toml:10:8
    |
 10 | name = "B"
    |        ^^^
  help: the other is in line 5; give each its own name\
"""),
    ),
    "an unknown metric of a gate": (
        RECIPE + SERVE + "[gates]\np99_tft_ms = 1\n",
        snapshot("""\
error: unknown metric 'p99_tft_ms'
  --> matrix.toml:5:1
   |
 5 | p99_tft_ms = 1
   | ^^^^^^^^^^
  help: did you mean 'p99_ttft_ms'?\
"""),
    ),
    "an unknown metric of the pick": (
        RECIPE + SERVE + "[pick]\nmaximize = 'output_throughputs'\n",
        snapshot("""\
error: pick.maximize: unknown metric 'output_throughputs'
  --> matrix.toml:5:12
   |
 5 | maximize = 'output_throughputs'
   |            ^^^^^^^^^^^^^^^^^^^^
  help: did you mean 'output_throughput'?\
"""),
    ),
    "a pick that goes both ways": (
        RECIPE + SERVE + "[pick]\nmaximize = 'output_throughput'\nminimize = 'p99_ttft_ms'\n",
        snapshot("""\
error: [pick] both maximizes and minimizes
  --> matrix.toml:6:1
   |
 6 | minimize = 'p99_ttft_ms'
   | ^^^^^^^^
  help: keep one of the two\
"""),
    ),
    "a pick of no workload": (
        RECIPE + SERVE + BENCH + "[pick]\nworkload = 'shrt'\n",
        snapshot("""\
error: there is no [[bench]] called 'shrt'
  --> matrix.toml:10:12
    |
 10 | workload = 'shrt'
    |            ^^^^^^
  help: known: b\
"""),
    ),
    "a baseline of no axis": (
        RECIPE + AXES + SERVE + "[pick]\nbaseline = { vlm = '0.10' }\n",
        snapshot("""\
error: there is no axis 'vlm'
  --> matrix.toml:8:14
   |
 8 | baseline = { vlm = '0.10' }
   |              ^^^
  help: did you mean 'vllm'?\
"""),
    ),
    "a baseline of no choice": (
        RECIPE + AXES + SERVE + "[pick]\nbaseline = { vllm = '0.1' }\n",
        snapshot("""\
error: axis 'vllm' has no choice '0.1'
  --> matrix.toml:8:21
   |
 8 | baseline = { vllm = '0.1' }
   |                     ^^^^^
  help: did you mean '0.11'?\
"""),
    ),
    "a baseline without cells": (
        RECIPE + AXES + "[[exclude]]\nvllm = '0.10'\n" + SERVE + "[pick]\nbaseline = { vllm = '0.10' }\n",
        snapshot("""\
error: no cell has the choices of the baseline
  --> matrix.toml:10:12
    |
 10 | baseline = { vllm = '0.10' }
    |            ^^^^^^^^^^^^^^^^^
  help: the excludes have removed them all\
"""),
    ),
    "everything at once": (
        "recip = 'x'\n[axes]\nvllm = ['1', '1']\nnccl = []\n[[exclude]]\nvlm = '1'\n"
        + "[serve]\nmodel = 3\n[gates]\np99 = 1\n[pick]\nworkload = 'w'\n",
        snapshot("""\
error: the file has no 'recipe'
  --> matrix.toml:1:1
  help: add recipe = "vllm-ep"

error: unknown key 'recip'
  --> matrix.toml:1:1
   |
 1 | recip = 'x'
   | ^^^^^
  help: did you mean 'recipe'?

error: axis 'vllm' has the choice '1' twice
  --> matrix.toml:3:14
   |
 3 | vllm = ['1', '1']
   |              ^^^
  help: remove one of them

error: axis 'nccl' has no choices
  --> matrix.toml:4:8
   |
 4 | nccl = []
   |        ^^

error: there is no axis 'vlm'
  --> matrix.toml:6:1
   |
 6 | vlm = '1'
   | ^^^
  help: did you mean 'vllm'?

error: serve.model: expected text, got a whole number
  --> matrix.toml:8:9
   |
 8 | model = 3
   |         ^
  help: write it in quotes

error: unknown metric 'p99'
  --> matrix.toml:10:1
    |
 10 | p99 = 1
    | ^^^
  help: known: mean_itl_ms, mean_tpot_ms, mean_ttft_ms, median_itl_ms, median_tpot_ms, median_ttft_ms, output_throughput, p99_itl_ms, p99_tpot_ms, p99_ttft_ms, request_throughput, total_token_throughput

error: there is no [[bench]] called 'w'
  --> matrix.toml:12:12
    |
 12 | workload = 'w'
    |            ^^^
  help: the file has no [[bench]]

8 problems in matrix.toml\
"""),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_told_what_is_wrong_and_where(case: str) -> None:
    text, message = CASES[case]
    with pytest.raises(MatrixError) as caught:
        expand(Matrix.from_document(Document.from_bytes(text.encode())), {"vllm", "nccl"})
    assert caught.value.exit_code == 2
    assert caught.value.render() == message


def test_several_problems_are_one_error_that_has_each() -> None:
    text, _ = CASES["everything at once"]
    with pytest.raises(MatrixProblemsError) as caught:
        Matrix.from_document(Document.from_bytes(text.encode()))
    assert len(caught.value.problems) == 8
    first, *each = str(caught.value).splitlines()
    assert first == "8 problems in matrix.toml:"
    assert [line.split(":")[1] for line in each] == ["1", "1", "3", "4", "6", "8", "10", "12"]
