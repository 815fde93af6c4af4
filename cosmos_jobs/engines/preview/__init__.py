"""The preview engine: shows on a CPU what a Cosmos Transfer model would be conditioned on."""
