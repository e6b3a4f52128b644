"""Defaults that all experiments share; every key is documented here.

An experiment's config starts from `base(dataset)` and changes what is its own. Any key can be set
on the command line: `--config.editor.steps=2000`.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

# The rows that an editor with probes sees networks on (see mlp.probe.ProbeConfig).
PROBE = {"points": 64, "seed": 0, "labelled": False}


def base(dataset: str) -> ConfigDict:
    """The defaults for `dataset` ("adult", "bank" or "synthetic")."""
    config = ConfigDict()
    config.seed = 0
    config.dataset = dataset
    config.group = placeholder(str)  # protected attribute; by default the dataset's first
    # Datasets whose models editors may be trained on too, with the first protected attribute.
    config.others = ()
    config.num_cpu_devices = 0  # host devices on CPU; 0 is one per core

    # The target MLPs (paper table 2). The catalogue holds at most `max_specs` architectures.
    config.population = ConfigDict()
    config.population.experiments = 1000
    config.population.max_specs = 50
    config.population.epochs = 60
    config.population.depths = (1, 2, 3, 4)
    config.population.widths = (8, 16, 32)
    config.population.norms = ("none", "batch", "layer")
    config.population.max_skips = 2
    config.population.batch_sizes = (64, 128, 256)
    config.population.activations = ("relu", "leaky_relu", "gelu", "silu", "tanh")
    config.population.dropouts = (0.0, 0.1, 0.2, 0.3)
    config.population.learning_rate = (1e-4, 3e-2)
    config.population.weight_decay = (1e-6, 1e-2)
    config.population.split = (0.7, 0.15, 0.15)  # of experiments: train, validation, test
    # "offline": editors are trained on the stored models of the training split. "online": on models
    # in training, `members` of each family, which take `sgd_steps` per step of the editor and are
    # replaced after `epochs`; the training split is not trained.
    config.population.mode = "offline"
    config.online = ConfigDict({"members": 4, "sgd_steps": 2})

    # The editor and its training (paper A.4).
    config.editor = ConfigDict()
    config.editor.node_width = 32
    config.editor.edge_width = 8
    config.editor.message_width = 16
    config.editor.layers = 3
    config.editor.gamma = 0.01
    config.editor.mask_bias = 3.0
    config.editor.mask_limit = 5.0  # of mask logits
    config.editor.mean_replacement = False  # of removed weights, in the bias; needs a probe
    # The rows of the `edit` data on which an editor sees what networks do: None, or such a dict as
    # PROBE, where "labelled" reads labels and groups.
    config.editor.probe = placeholder(dict)
    config.editor.dtype = "float32"
    # Of what editors are trained on: the share of experiments, without specs of a kind (see
    # experiments.plan.KINDS) or, as a control, as few of all kinds, and the first rows of the
    # `edit` data; 0 is all.
    config.editor.share = 1.0
    config.editor.unseen = placeholder(str)
    config.editor.control = False
    config.editor.rows = 0
    config.editor.datasets = ()  # some of `dataset` and `others`; () is `dataset` alone
    config.editor.seeds = 3  # editors trained: with `seed`, `seed + 1`, ...
    config.editor.steps = 4000
    config.editor.batch_size = 16
    config.editor.points = 256
    config.editor.balanced = False  # whether (label, group) cells are sampled equally
    config.editor.learning_rate = 2e-3
    config.editor.final_learning_rate = 0.02
    config.editor.warmup = 50
    config.editor.weight_decay = 0.0
    config.editor.clip = 1.0
    config.editor.ramp = 0.3
    config.editor.mask_noise = 1.0
    config.editor.mask_temperature = 1.0
    config.editor.mask_path = 0.0  # chance of a model to learn masks, at random places; 0 is never
    config.editor.decision_temperature = 0.2
    config.editor.checkpoint_every = 500

    # lambda is drawn log-uniformly from (low, high); equal ends make it one point. With several
    # requirements, a tuple of such pairs.
    config.lambda_range = (0.001, 0.5)
    config.editor.scalarisation = "linear"  # or "epo": exact Pareto optimal search
    config.editor.lambda_power = 0.3  # a model's loss counts (lambda / high)^-power

    # Editors used in another way than `editors`: method name, its editor, and the "probe" whose
    # points it is shown, or how many "preferences" it is swept over.
    config.variants = ConfigDict()

    # Editors applied one after another, at every combination of their lambdas, and editors whose
    # fronts are one: method name, and the editors' names.
    config.composed = ConfigDict()
    config.united = ConfigDict()

    # Editors followed by gradient descent on every model: method name, its editor, and how
    # (see training.refine.RefineConfig).
    config.refined = ConfigDict()

    # Levels of the requirement for which the editors' lambdas are found.
    config.targets = ()

    # Test data as they would be if people were others: name, and the "feature" whose mean moves by
    # "tilt" deviations.
    config.shifts = ConfigDict()

    config.evaluation = ConfigDict()
    config.evaluation.n_lambdas = 20  # settings of an editor: lambda, log-spaced over `preference`
    # The same for editors that are followed by descent, and of how many of their seeds at most; and
    # for the per-model optimum.
    config.evaluation.refinements = 20
    config.evaluation.refined_seeds = 3
    config.evaluation.descents = 8
    # At most so many models settings are chosen on, and reported on.
    config.evaluation.validation_models = 100
    config.evaluation.test_models = 450
    config.evaluation.batch_size = 16
    return config


def refined(editor: str, learning_rates: dict[int, float], **settings) -> dict:
    """`config.refined` for the editor called `editor`; learning_rates: by number of steps."""
    return {
        f"{editor}, {steps} steps": {
            "editor": editor,
            "steps": steps,
            "learning_rate": rate,
            **settings,
        }
        for steps, rate in learning_rates.items()
    }
