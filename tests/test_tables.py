"""The tables that evaluation prints."""

import pytest

from seqrec.metrics import PairedDifference
from seqrec.tables import cohorts_table, comparison_table, difference_table, lists_table, runs_table


def result(ndcg, unranked=0):
    part = {"num_unranked": unranked}
    for k in (10, 20):
        part |= {
            f"ndcg@{k}": ndcg,
            f"ndcg@{k}_ci": [ndcg - 0.01, ndcg + 0.01],
            f"hr@{k}": 2 * ndcg,
            f"hr@{k}_ci": [ndcg, 3 * ndcg],
            f"mrr@{k}": ndcg / 2,
        }
    cohort = {"num_users": 1000, "definition": "everybody else", **part}
    return {
        "num_users": 1234,
        "exclude_seen": part,
        "include_seen": part | {"ndcg@10": ndcg / 4},
        "cohorts": {"head": cohort | {"num_users": 234}, "tail": cohort},
        "lists": {"coverage@10": ndcg, "popularity@10": 1234.5, "coverage@20": 1.0},
    }


RESULTS = {"seqrec": result(0.12), "item-kNN": result(0.08)}


def test_table_has_one_aligned_row_a_ranker():
    header, rule, *rows, caption = comparison_table(RESULTS).splitlines()
    assert header.split("  ")[0] == "ranker" and header.endswith("NDCG@10, seen included")
    assert len({len(line) for line in (header, rule, *rows)}) == 1
    assert rows[0].split() == ["seqrec", "0.1200", "0.1100", "-", "0.1300", "0.2400", "0.0600", "0.1200", "0.0300"]
    assert rows[1].split()[0] == "item-kNN"
    assert caption.startswith("1,234 users")


def test_table_says_how_many_targets_could_not_be_ranked():
    assert comparison_table({"seqrec": result(0.12, unranked=17)}).splitlines()[-1].startswith("17 targets")


def test_nothing_to_compare_is_answered_with_a_sentence():
    with pytest.raises(ValueError, match="at least one ranker"):
        comparison_table({})


def test_lists_are_shown_at_the_first_cut_with_a_dash_where_a_ranker_lacks_a_measure():
    results = RESULTS | {"other": result(0.01) | {"lists": {"coverage@10": 0.5, "diversity@10": 0.9}}}
    header, _, *rows, _, _, last = lists_table(results).splitlines()
    assert header.split() == ["ranker", "coverage@10", "popularity@10", "diversity@10"]
    assert rows[0].split() == ["seqrec", "0.1200", "1,234", "-"]
    assert rows[2].split() == ["other", "0.5000", "-", "0.9000"]
    assert last.startswith("diversity: ")


def test_cohorts_are_shown_with_their_size_interval_and_definition():
    new = {"cold": result(0.0)["cohorts"]["head"], "warm": result(0.3)["cohorts"]["tail"]}
    header, _, first, second, *definitions = cohorts_table(
        {name: found | new for name, found in RESULTS.items()}
    ).splitlines()
    assert header.split("  ")[0] == "NDCG@10" and header.split()[1:4] == ["cold", "(234", "users)"]
    assert first.endswith("0.3000 [0.2900, 0.3100]  0.1200 [0.1100, 0.1300]  0.1200 [0.1100, 0.1300]")
    assert second.startswith("item-kNN")
    assert definitions == [f"{name}: everybody else" for name in ("cold", "warm", "head", "tail")]


@pytest.mark.parametrize(
    ("difference", "p_value", "said"),
    [
        (0.02, 0.003, "NDCG@10: a is better than b by 0.0200 [0.0100, 0.0300], p=0.0030."),
        (-0.02, 0.003, "NDCG@10: a is worse than b by 0.0200 [0.0100, 0.0300], p=0.0030."),
        (0.02, 0.06, "NDCG@10: no difference is shown: +0.0200 [+0.0100, +0.0300], p=0.0600."),
    ],
)
def test_a_comparison_is_said_in_words(difference, p_value, said):
    interval = (difference - 0.01, difference + 0.01)
    found = PairedDifference(0.1, 0.1 - difference, difference, interval, p_value, num_users=1000)
    *_, caption, words = difference_table({"ndcg@10": found, "hr@10": found}, "a", "b").splitlines()
    assert caption.startswith("1,000 users") and words == said


def test_runs_with_several_seeds_have_mean_and_deviation_and_others_their_interval():
    header, _, one, several = runs_table(
        {"popularity": [result(0.04)], "ours": [result(0.1), result(0.2)]}
    ).splitlines()
    assert header == "| ranker | NDCG@10 | HR@10 | NDCG@10, seen included | HR@10, seen included |"
    assert one.startswith("| popularity | 0.0400 [0.0300, 0.0500] | 0.0800 [0.0400, 0.1200] | 0.0100 [")
    assert several.startswith("| ours | 0.1500 ± 0.0707 | 0.3000 ± 0.1414 | 0.0375 ± 0.0177 |")


@pytest.mark.parametrize(("rankers", "said"), [({}, "at least one"), ({"ours": []}, r"no result of \['ours'\]")])
def test_a_table_of_nothing_is_refused(rankers, said):
    with pytest.raises(ValueError, match=said):
        runs_table(rankers)


def test_results_of_other_users_or_cuts_are_refused():
    with pytest.raises(ValueError, match=r"result of 'ours' is of 9 users at .*'popularity' of 1,234 at \[10, 20\]"):
        runs_table({"popularity": [result(0.1)], "ours": [result(0.1), result(0.1) | {"num_users": 9}]})
    at_five = {"ndcg@5": 0.1, "ndcg@5_ci": [0.0, 0.2], "hr@5": 0.1, "hr@5_ci": [0.0, 0.2]}
    other = {"num_users": 1234, "exclude_seen": at_five, "include_seen": at_five}
    with pytest.raises(ValueError, match=r"at the cuts \[5\], .*; expected results of the same users and cuts"):
        runs_table({"popularity": [result(0.1)], "ours": [other]})
