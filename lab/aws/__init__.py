"""The lab's AWS: a moto server that behaves as AWS does where stock moto does not."""
