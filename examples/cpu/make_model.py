"""Make the tiny mixture-of-experts model that the CPU example serves.

The model is DeepSeek-V3 in shape (MLA attention, 16 routed experts of which 4 answer each token, one shared expert) and
has no weights: vLLM makes random ones at load (``--load-format dummy``). The tokenizer is a byte-level BPE of 2,048
tokens whose merges are drawn from made-up words with a fixed seed, so every machine writes the same bytes.

Only Python is needed: ``python examples/cpu/make_model.py [DIRECTORY]``. The result is committed as
``examples/cpu/model``.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

VOCAB_SIZE = 2048
MAX_POSITIONS = 2048
SPECIAL = ("<bos>", "<eos>", "<pad>")

CONFIG: dict[str, object] = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_size": 256,
    "intermediate_size": 512,
    "moe_intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "num_experts_per_tok": 4,
    "n_group": 4,
    "topk_group": 2,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "q_lora_rank": 128,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "num_nextn_predict_layers": 0,
    "ep_size": 1,
    "vocab_size": VOCAB_SIZE,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": MAX_POSITIONS,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "attention_bias": False,
    "attention_dropout": 0.0,
}


def byte_alphabet() -> list[str]:
    """The 256 printable stand-ins for bytes that byte-level BPE uses (GPT-2's table), in byte order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    stand_in = {byte: chr(byte) for byte in printable}
    for offset, byte in enumerate(byte for byte in range(256) if byte not in stand_in):
        stand_in[byte] = chr(256 + offset)
    return [stand_in[byte] for byte in range(256)]


def made_up_words(seed: int = 2048, count: int = 3000) -> list[str]:
    """Words of two to four syllables, most of them with the leading space that byte-level BPE writes as ``Ġ``."""
    draw = random.Random(seed)  # noqa: S311 - a fixed vocabulary, nothing secret
    syllables = [consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiou"]
    return [
        ("Ġ" if draw.random() < 0.8 else "") + "".join(draw.choice(syllables) for _ in range(draw.randint(2, 4)))
        for _ in range(count)
    ]


def train_merges(words: Iterable[str], alphabet: set[str], count: int) -> list[tuple[str, str]]:
    """The first ``count`` byte-pair merges of ``words``: the most frequent pair first, ties in alphabetical order."""
    pieces = [list(word) for word in words]
    known = set(alphabet)
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs = Counter(pair for piece in pieces for pair in itertools.pairwise(piece))
        fresh = [pair for pair in pairs if "".join(pair) not in known]
        # Several merges a pass: exact BPE would recount after each, which a made-up vocabulary has no use for.
        batch = sorted(fresh, key=lambda pair: (-pairs[pair], pair))[: min(40, count - len(merges))]
        chosen = set(batch)
        merges += batch
        known |= {"".join(pair) for pair in batch}
        pieces = [merged(piece, chosen) for piece in pieces]
    return merges


def merged(piece: list[str], chosen: set[tuple[str, str]]) -> list[str]:
    """``piece`` with each chosen pair joined, from left to right."""
    result: list[str] = []
    for token in piece:
        if result and (result[-1], token) in chosen:
            result[-1] += token
        else:
            result.append(token)
    return result


def tokenizer() -> dict[str, object]:
    """The content of ``tokenizer.json``."""
    alphabet = byte_alphabet()
    merges = train_merges(made_up_words(), set(alphabet), VOCAB_SIZE - len(SPECIAL) - len(alphabet))
    tokens = [*SPECIAL, *alphabet, *("".join(pair) for pair in merges)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, token in enumerate(SPECIAL)
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [list(pair) for pair in merges],
        },
    }


def files() -> dict[str, dict[str, object]]:
    """Every file of the model directory by name."""
    bos, eos, pad = SPECIAL
    return {
        "config.json": CONFIG,
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": bos,
            "eos_token": eos,
            "pad_token": pad,
            "model_max_length": MAX_POSITIONS,
            "clean_up_tokenization_spaces": False,
        },
    }


def main() -> None:
    """Write the model to the directory given, or beside this script."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "model"
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (target / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{target}: {', '.join(files())}")


if __name__ == "__main__":
    main()
