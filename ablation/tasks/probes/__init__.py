"""The built-in suite `probes`: in-context learning in its purest form, written here and made without network.

Each query is asked under each of two or four rules, with the same choices: the answers under all rules. What is asked
for is therefore not in the query; the demonstrations, which follow the same rule, carry it. At 0 shots any model that
does not guess at random is right on exactly one rule of each query, so accuracy is chance by construction.
"""
