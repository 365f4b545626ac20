# The local replica set; see replica-set/README.md.
.PHONY: replica replica-stop replica-status replica-reset

replica: node_modules ## start the local replica set, or say that it runs; prints its URI
	@node replica-set/replica.mjs start

replica-stop: node_modules ## stop the local replica set; its data is kept
	@node replica-set/replica.mjs stop

replica-status: node_modules ## say how the local replica set stands; exit 0 if it runs
	@node replica-set/replica.mjs status

replica-reset: node_modules ## stop the local replica set and delete its data
	@node replica-set/replica.mjs reset
