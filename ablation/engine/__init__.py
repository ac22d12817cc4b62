"""The likelihood engine: continuations scored with every shared prefix run once, whole or with components removed."""
