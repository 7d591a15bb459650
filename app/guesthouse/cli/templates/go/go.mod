module @NAME@

go 1.24

require guesthouse/dapr v0.0.0

replace guesthouse/dapr => ./sdk
