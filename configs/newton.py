"""What Gauss-Newton steps add: to editors, and to masks of methods without one.

python -m experiments.run --config=configs/newton.py[:DATASET-TASK], by default adult-pruning

"NAME & Newton" is NAME, then steps of what it keeps; of equalised odds they lower lambda times the
requirement too. "(moments)": on rows drawn from the mean and covariance of the data, of methods
that need no rows themselves; "(6 steps)": twice as many, on 1,024 rows, as ExactOBS reads. Beside
them is the editor with steps of Adam.
"""

from ml_collections import ConfigDict

from configs.tasks import config_of

STEPS = {"steps": 3, "products": 4, "points": 256, "damping": 0.1}
LONG = STEPS | {"steps": 6, "points": 1024}
MORE = {"fairness": {"points": 1024, "balanced": True, "requirement": True}}
METHODS = {
    "dm": ("GMN", "GMN + probe", "FS (GMN)", "FS", "FS & impute", "Greedy", "Greedy & impute"),
    "fairness": ("GMN", "GMN + probe"),
    "pruning": ("GMN - Prune & Edit", "GMN + probe", "Magnitude (layer-normalised)", "LAMP", "OBD",
                "ExactOBS"),
}  # fmt: skip
# Of those, some with LONG steps.
LONGER = {
    "dm": ("GMN", "Greedy & impute"),
    "fairness": (),
    "pruning": ("GMN - Prune & Edit", "ExactOBS"),
}
# Of those that read no rows for the edit of a model, some.
WITHOUT_ROWS = {
    "dm": ("GMN", "FS & impute"),
    "fairness": (),
    "pruning": ("GMN - Prune & Edit", "Magnitude (layer-normalised)", "LAMP"),
}
MAIN = {
    "dm": ("GMN", "GMN & Newton", "GMN & Newton (6 steps)", "Greedy & impute",
           "Greedy & impute & Newton (6 steps)", "GMN + probe, 100 steps"),
    "fairness": ("GMN", "GMN & Newton", "GMN + probe", "GMN + probe & Newton",
                 "GMN + probe, 100 steps"),
    "pruning": ("GMN - Prune & Edit", "GMN - Prune & Edit & Newton",
                "GMN - Prune & Edit & Newton (6 steps)", "ExactOBS",
                "ExactOBS & Newton (6 steps)", "GMN + probe, 100 steps"),
}  # fmt: skip
EDITED = "metanet.methods.editor.edited"


def get_config(which: str = "adult-pruning") -> ConfigDict:
    config = config_of(which)
    own, names = config.recipes, METHODS[config.task]
    recipes, methods = {}, []
    for name in names:
        # An editor's own method has no recipe in the config.
        recipe = dict(own[name]) if name in own else {"recipe": EDITED, "editors": (name,)}
        steps = STEPS | MORE.get(config.task, {})
        stepped = {f"{name} & Newton": recipe | {"newton": steps}}
        if name in WITHOUT_ROWS[config.task]:
            stepped[f"{name} & Newton (moments)"] = recipe | {"newton": steps | {"moments": True}}
        if name in LONGER[config.task]:
            stepped[f"{name} & Newton (6 steps)"] = recipe | {"newton": LONG}
        recipes |= stepped
        methods += [name, *stepped]
    refined = [name for name in own if name.endswith(" steps")]
    config.recipes = {name: own[name] for name in (*names, *refined) if name in own} | recipes
    config.methods = (*methods, *refined)
    config.editors = {name: config.editors[name] for name in names if name in config.editors}
    config.evaluation.main_methods = MAIN[config.task]
    return config
