"""A realistic run, built by hand: twelve claims over two files, with every verdict in it."""

import math
import random

import msgspec
import pytest

from causaltest.records import (
    SCHEMA_VERSION,
    Claim,
    Edit,
    Environment,
    Interval,
    ModelRecord,
    PairRecord,
    PairSetRecord,
    Part,
    Results,
    Run,
    Sizes,
)

MODEL = "toy-english"
PRONOUNS = "hypotheses/test_pronouns.py"
OBJECTS = "hypotheses/test_indirect_object.py"
ACTS = (
    "went to the market because",
    "smiled at the dog and then",
    "said that the rain had stopped when",
    "put the book down before",
    "laughed until",
    "opened the old door so that",
    "was tired, but",
    "found a coin and",
    "wrote a letter while",
    "called the baker after",
    "ran home as soon as",
    "waited by the river until",
)
NAMES = (("Lily", "Tim"), ("Anna", "Ben"))


def pair_set(name="pronouns", cluster="template"):
    """Build 24 pairs: 12 templates by 2 contrasts of names."""
    pairs = tuple(
        PairRecord(
            id=f"{name}/{2 * i + j}",
            base=f"{her} {act}",
            source=f"{him} {act}",
            base_answer=" she",
            source_answer=" he",
            unit=f"{{name}} {act}",
            positions={"name": f"{her} | {him}"},
        )
        for i, act in enumerate(ACTS)
        for j, (her, him) in enumerate(NAMES)
    )
    return PairSetRecord(
        name=name,
        sha256="9f2c41d07be3a85516c2" * 3 + "0a1b",
        cluster=cluster,
        n_pairs=24,
        n_units=12 if cluster else 24,
        pairs=pairs,
    )


def interval_of(values, alpha):
    """Give the t-like interval of the mean of unit values (2.2 and more standard errors)."""
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    reach = (2.2 if alpha > 0.01 else 3.4) * spread / math.sqrt(len(values))
    return Interval(mean - reach, mean + reach, 1 - alpha)


def part_of(verdict, mean, spread, relation, bound, *, subject, scale="", seed=0, needed=None):
    """Measure a made-up effect on the 24 pairs."""
    rng = random.Random(seed)
    units = [rng.gauss(mean, spread) for _ in ACTS]
    values = tuple(u + rng.gauss(0, spread / 2) for u in units for _ in NAMES)
    means = [(values[2 * i] + values[2 * i + 1]) / 2 for i in range(len(ACTS))]
    estimate = sum(means) / len(means)
    raw, adjusted = interval_of(means, 0.05), interval_of(means, 0.05 / 8)
    metric = subject.split(" of ")[0]
    shown = (
        f"abs({metric}) < {bound:g}" if relation == "within" else f"{metric} {relation} {bound:g}"
    )
    return Part(
        statement=shown,
        subject=subject,
        verdict=verdict,
        relation=relation,
        bound=bound,
        estimate=estimate,
        interval=raw,
        adjusted_interval=adjusted,
        p_support={"supported": 0.00002, "refuted": 0.9999}.get(verdict, 0.13),
        p_refute={"supported": 0.9999, "refuted": 0.00004}.get(verdict, 0.87),
        alpha=0.05 / 8,
        n_pairs=24,
        n_units=12,
        unit="template",
        method="hull on 12 template means, 9,999 resamples",
        floor=1.2e-6,
        pairs_needed=needed,
        sizes=Sizes(
            share_in_direction=11 / 12,
            share_interval=Interval(0.646, 0.985, 0.95),
            d_z=1.84,
            d_z_interval=Interval(0.88, 2.77, 0.95),
            fraction_of_total=None if scale != "logits" else 0.41,
        ),
        source_text=f"assert effect {relation} {bound:g}",
        values=values,
        units=tuple(f"{{name}} {act}" for act in ACTS for _ in NAMES),
        scale=scale,
        pair_set="pronouns",
    )


def claim_of(file, line, name, sentence, *parts, expected="supported", notes=(), p_adjusted=0.0002):
    """Make a claim of its parts; the last one decides."""
    part = parts[-1]
    return Claim(
        id=f"{file}::{name}[{MODEL}]",
        claim=sentence,
        file=file,
        line=line,
        verdict=part.verdict,
        expected=expected,
        outcome="passed" if part.verdict == expected else "failed",
        model=MODEL,
        docstring=sentence,
        source=(
            f'def {name}(causal, children):\n    """{sentence}"""\n'
            '    effect = causal.effect(\n        interchange(block_output(2, pos="name")), '
            "on=children, metric=recovery\n    )\n"
            + "".join(f"    {p.source_text}\n" for p in parts)
        ),
        parts=parts,
        deciding=len(parts) - 1,
        family=file,
        family_size=8 if file == PRONOUNS else 4,
        estimate=part.estimate,
        interval=part.interval,
        adjusted_interval=part.adjusted_interval,
        relation=part.relation,
        bound=part.bound,
        n_pairs=24,
        n_units=12,
        unit="template",
        p_support=part.p_support,
        p_refute=part.p_refute,
        p_adjusted=p_adjusted,
        edits=(
            Edit(
                intervention="interchange",
                site="block_output[2]@name",
                module="transformer.h.2",
                fired=3,
                rows=24,
                positions=24,
                dims=64,
                changed=24,
            ),
        ),
        notes=notes,
        seconds=0.41,
    )


def recovery(site):
    """Name a recovery as the engine does."""
    return f"recovery of interchange({site})"


def pronoun_claims():
    """Make the eight claims of the first file."""
    f = PRONOUNS
    early = recovery("block_output[2]@name")
    return (
        claim_of(
            f,
            12,
            "test_the_name_decides_the_pronoun",
            "The name token's residual stream carries the gender into the middle layers.",
            part_of("supported", 0.82, 0.11, ">", 0.5, subject=early, seed=1),
        ),
        claim_of(
            f,
            20,
            "test_the_end_takes_over",
            "At the last layer the end position has the gender.",
            part_of(
                "supported", 0.93, 0.05, ">", 0.8, subject=recovery("block_output[3]@end"), seed=2
            ),
        ),
        claim_of(
            f,
            28,
            "test_the_verb_is_not_involved",
            "The verb's position carries no gender.",
            part_of(
                "supported",
                0.004,
                0.02,
                "within",
                0.1,
                subject=recovery("block_output[2]@verb"),
                seed=3,
            ),
        ),
        claim_of(
            f,
            37,
            "test_attention_moves_it",
            "Attention in layer 2 moves the gender to the end.",
            part_of(
                "supported",
                0.74,
                0.12,
                ">",
                0.4,
                subject=recovery("attention_output[2]@end"),
                seed=4,
            ),
            part_of(
                "supported", 0.03, 0.05, "<", 0.2, subject=recovery("mlp_output[2]@end"), seed=5
            ),
        ),
        claim_of(
            f,
            49,
            "test_one_head_suffices",
            "One head alone moves most of the gender.",
            part_of(
                "inconclusive",
                0.55,
                0.16,
                ">",
                0.5,
                needed=212,
                subject=recovery("head_attention_value_output[2.1]@end"),
                seed=11,
            ),
            p_adjusted=0.52,
            notes=("7 of 24 pairs have a gap below 0.3 logits; their recoveries are noisy.",),
        ),
        claim_of(
            f,
            58,
            "test_the_first_layer_decides",
            "The first layer alone decides the pronoun.",
            part_of(
                "refuted", 0.12, 0.08, ">", 0.5, subject=recovery("mlp_output[0]@name"), seed=7
            ),
            expected="refuted",
        ),
        claim_of(
            f,
            66,
            "test_swapping_flips_the_answer",
            "Swapping the name flips the pronoun.",
            part_of(
                "supported",
                0.96,
                0.03,
                ">",
                0.8,
                subject="accuracy of interchange(block_output[2]@name)",
                seed=8,
            ),
        ),
        claim_of(
            f,
            74,
            "test_the_logits_follow",
            "Patching the name moves the logits by two or more.",
            part_of(
                "supported",
                3.4,
                0.6,
                ">",
                2.0,
                subject="logit_diff of interchange(block_output[2]@name)",
                scale="logits",
                seed=9,
            ),
        ),
    )


def object_claims():
    """Make the four claims of the second file, one of them an error."""
    f = OBJECTS
    return (
        claim_of(
            f,
            10,
            "test_the_second_name_is_copied",
            "The indirect object's name is copied to the end by attention.",
            part_of(
                "supported",
                0.71,
                0.1,
                ">",
                0.5,
                subject=recovery("attention_output[3]@end"),
                seed=21,
            ),
        ),
        claim_of(
            f,
            19,
            "test_the_last_mlp_is_necessary",
            "Without the last MLP the answer's logit falls by at least four.",
            part_of(
                "refuted",
                -0.51,
                0.3,
                "<",
                -4.0,
                scale="logits",
                subject="logit_diff of mean_ablate(mlp_output[3]@end)",
                seed=22,
            ),
        ),
        claim_of(
            f,
            27,
            "test_three_heads_suffice",
            "Three heads recover eight tenths of the answer.",
            part_of(
                "supported",
                0.94,
                0.03,
                ">",
                0.8,
                subject="faithfulness of head_attention_value_output[0.1, 1.0, 3.2]",
                seed=23,
            ),
        ),
        Claim(
            id=f"{f}::test_the_subject_is_inhibited[{MODEL}]",
            claim="The subject's name is inhibited by heads of layer 2.",
            file=f,
            line=36,
            verdict="error",
            expected="supported",
            outcome="error",
            model=MODEL,
            docstring="The subject's name is inhibited by heads of layer 2.",
            source="def test_the_subject_is_inhibited(causal, objects):\n    ...\n",
            family=f,
            family_size=4,
            error="SiteError: layer 7 does not exist; toy-english has layers 0 to 3.\n"
            "Use head_attention_value_output(layer=0..3, head=0..3).",
        ),
    )


def run_record(**changes):
    """Describe the run."""
    settings = {
        "alpha": 0.05,
        "correction": "bonferroni",
        "seed": 0,
        "started": "2026-01-12T09:30:00+00:00",
        "finished": "2026-01-12T09:30:09+00:00",
        "seconds": 9.2,
        "models": (
            ModelRecord(
                name=MODEL,
                architecture="GPT2LMHeadModel",
                parameters=412_928,
                sha256="51d0c2" * 10 + "beef",
                dtype="float32",
                device="cpu",
                layers=4,
            ),
        ),
        "pair_sets": (pair_set(),),
        "environment": Environment(
            python="3.12.8",
            platform="Linux-6.8-x86_64",
            packages={"causaltest": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
            git_commit="2f6c1b7e90aa",
            git_dirty=True,
            command="pytest hypotheses",
            threads=4,
        ),
    }
    return Run(**{**settings, **changes})


def results_of(claims, **changes):
    """Wrap claims as results."""
    return Results(SCHEMA_VERSION, "complete", run_record(**changes), tuple(claims))


@pytest.fixture(scope="session")
def sample():
    """Give the run of twelve claims."""
    return results_of((*pronoun_claims(), *object_claims()))


@pytest.fixture(scope="session", name="many")
def many_fixture():
    """Give the function that makes large runs."""
    return many


def many(number, *, share_supported=0.8):
    """Repeat the sample's claims over many files, with the share of supported ones given."""
    supported = [c for c in (*pronoun_claims(), *object_claims()) if c.verdict == "supported"]
    others = [c for c in pronoun_claims() if c.verdict in ("refuted", "inconclusive")]
    claims = []
    for index in range(number):
        pool = supported if index % 100 < 100 * share_supported else others
        claim = pool[index % len(pool)]
        file = f"hypotheses/test_area_{index // 50:02d}.py"
        name = claim.id.split("::")[1].replace("[", f"_{index}[")
        claims.append(
            msgspec.structs.replace(claim, id=f"{file}::{name}", file=file, line=10 * index)
        )
    return results_of(claims)
