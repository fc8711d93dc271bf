# For a CPU, and for an NVIDIA GPU:
#   docker build -t vqdiffusion-jax .
#   docker build -t vqdiffusion-jax:cuda --build-arg JAX_EXTRA=cuda13 .
#   docker run --rm -v "$PWD:/work" vqdiffusion-jax --prompt="a red apple"
#   docker run --rm --gpus=all -v "$PWD:/work" vqdiffusion-jax:cuda --mode=env
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:${PYTHON}-slim
# An extra of jax: cuda13 or cuda12, which bring CUDA's libraries; the host has the driver.  Empty for a CPU.
ARG JAX_EXTRA=""
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    python -m pip install --no-cache-dir /wheel/*.whl ${JAX_EXTRA:+"jax[$JAX_EXTRA]"} \
    && vqdiffusion-jax --version
# Any user may run it (docker run --user); compiled programs and downloads lie in the cache, which a volume can keep.
ENV XDG_CACHE_HOME=/cache HF_HOME=/cache/huggingface PYTHONUNBUFFERED=1
RUN mkdir -m 1777 /cache
WORKDIR /work
ENTRYPOINT ["vqdiffusion-jax"]
CMD ["--help"]
