"""Does the language-model block help? The arms of the comparison, run one by one, and the page
that answers.
"""
