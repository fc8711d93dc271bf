"""VQ-Diffusion-B on Oxford-102 flowers (paper section 5).

The reference publishes no file for it; numbers are cub200's.
"""

from vqdiffusion_jax.config_files import config_of


def get_config():
    config = config_of("cub200")
    config.data.source, config.data.root = "oxford102", "dataset/Oxford-102"
    config.watch.prompts = (
        "this flower has purple petals",
        "a yellow flower with a dark centre",
        "white petals and green leaves",
    )
    return config
