module guesthouse/dapr

go 1.24
