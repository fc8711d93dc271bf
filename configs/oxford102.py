"""VQ-Diffusion-B on Oxford-102 flowers (paper section 5).

The reference publishes no file for it; numbers are cub200's.
"""

from configs import cub200


def get_config():
    config = cub200.get_config()
    config.data.source, config.data.root = "oxford102", "dataset/Oxford-102"
    config.watch.prompts = (
        "this flower has purple petals",
        "a yellow flower with a dark centre",
        "white petals and green leaves",
    )
    return config
