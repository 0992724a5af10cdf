"""From a trained network to a chip's integers: what can be deployed, at which scale, and what that costs.

`lowering` takes a network apart into populations and what connects them, in real numbers; `grid` rounds one
population to integers at a given scale; `search` chooses the scale; `report` says what came of it.
"""
