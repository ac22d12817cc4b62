"""A task's YAML, as a person writes it beside documents of their own."""

from __future__ import annotations

LINES = """task: {name}
output_type: multiple_choice
custom_dataset: !function ablation.tasks.data.load
dataset_kwargs: {{task: {name}}}
training_split: train
validation_split: validation
doc_to_text: "{text}"
doc_to_choice: {choices}
doc_to_target: label
fewshot_delimiter: "\\n"
"""


def own_yaml(name: str, text: str, choices: str) -> str:
    """text, choices: the template of a prompt, and a list or the field of one."""
    return LINES.format(name=name, text=text, choices=choices)
