module guesthouse/demo/ledger

go 1.24

require guesthouse/dapr v0.2.0

replace guesthouse/dapr => ../../../guests/sdk/go
