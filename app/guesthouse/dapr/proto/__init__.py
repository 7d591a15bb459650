"""Messages and stubs of Dapr's component interface, generated from components.proto by generate.py (`make protos`)."""
