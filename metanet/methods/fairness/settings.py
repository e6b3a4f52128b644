"""Values that several post-processing methods share."""

# Bounds on a difference of rates that methods are swept over.
BOUNDS = (0.001, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)
# Requirements that a method may say it optimises.
EQUALISED_ODDS = "metanet.objectives.fairness.equalised_odds"
DEMOGRAPHIC_PARITY = "metanet.objectives.fairness.demographic_parity"
