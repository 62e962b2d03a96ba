"""What Grad-CAM would get from an encoder."""


def recorded_maps(encoder):
    """The list that what Grad-CAM looks at is put into, with its gradient."""
    seen = []

    def hook(module, args, output):
        if output.requires_grad:
            output.retain_grad()
        seen.append(output)

    encoder.cam_layer.register_forward_hook(hook)
    return seen
