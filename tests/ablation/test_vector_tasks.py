"""Prompts of function vectors from a file in which some rows have no label."""

from __future__ import annotations

from unittest import mock

from ablation.tasks import labels
from ablation.vector_tasks import vector_task


def test_rows_without_a_label_are_counted_and_left_out() -> None:
    whole = vector_task("probe_antonyms", shots=2, queries=10, mean_documents=10)
    assert whole.queries.unlabelled == 0
    shown = {each.id for document in whole.queries.documents for each in document.demonstrations}
    used = shown | {document.id for part in (whole.mean, whole.queries) for document in part.documents}
    gone = sorted(used)[:3]

    def kept(task: object, rows: list[dict[str, object]], metric: str) -> list[dict[str, object]]:
        return [row for row in labels.labelled(task, rows, metric) if row["document_id"] not in gone]

    with mock.patch("ablation.vector_tasks.labelled", kept):
        less = vector_task("probe_antonyms", shots=2, queries=10, mean_documents=10)
    assert less.queries.unlabelled == less.mean.unlabelled == less.plain.unlabelled == len(gone)
    left = {document.id for part in (less.mean, less.queries) for document in part.documents}
    assert left and not left & set(gone)
