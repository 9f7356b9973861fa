"""Where in a picture a network looks: Grad-CAM for all families, attention rollout for those that attend.

Both run through `jaxvision.intercept`, are pure functions of the pictures, and may be compiled::

    heat = jax.jit(lambda images: grad_cam(model, images, upsample=True, normalize=True))(images)
    picture = overlay(pixels, heat[0])
"""

from jaxvision.explain.grad_cam import grad_cam
from jaxvision.explain.overlay import overlay
from jaxvision.explain.rollout import attention_rollout, rollout_matrix

__all__ = ["attention_rollout", "grad_cam", "overlay", "rollout_matrix"]
