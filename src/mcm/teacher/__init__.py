"""Training of the embedded teacher: autoencoder, text encoder, image UNet, motion modules."""
