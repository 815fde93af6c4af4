"""Which weight each control ends up with: NVIDIA's placement, which errs in mixed batches."""

ORDER = ("edge", "vis", "depth", "seg")


def effective(batch_keys, weights):
    """Return the weight that the network uses for each control of a sample.

    `batch_keys` are the controls of any sample of the batch, `weights` those of
    this one. The list has one number a key of the batch; the network walks its
    four controls, and for each that the sample lacks sets a 0 if the list has
    four numbers, and else inserts one, although the list has a 0 there already.
    """
    numbers = [weights.get(key, 0.0) for key in batch_keys]
    if len(numbers) == 1:
        numbers *= len(ORDER)
    for place, key in enumerate(ORDER):
        if key in weights:
            continue
        if len(numbers) == len(ORDER):
            numbers[place] = 0.0
        else:
            numbers.insert(place, 0.0)
    return {key: numbers[ORDER.index(key)] for key in weights}
