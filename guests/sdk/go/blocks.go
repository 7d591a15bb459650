package dapr

import (
	"strings"
	"time"

	"guesthouse/dapr/internal/proto"
)

// PublishOptions are those of Publish.
type PublishOptions struct {
	ContentType string
	Metadata    map[string]string // for the component
	Timeout     time.Duration     // 0: as long as the event may take
}

// StartPublish begins Publish.
func StartPublish(pubsub, topic string, data []byte, options ...PublishOptions) *Pending[struct{}] {
	o := optional(options)
	request := proto.Message{}.Text(1, pubsub).Text(2, topic).Bytes(3, data).Text(4, o.ContentType).Map(5, o.Metadata)
	return start("PublishEvent", request, nil, o.Timeout, nothing)
}

// Publish sends a message to a topic.
func Publish(pubsub, topic string, data []byte, options ...PublishOptions) error {
	_, err := StartPublish(pubsub, topic, data, options...).Wait()
	return err
}

// InvokeOptions are those of InvokeMethod.
type InvokeOptions struct {
	Verb        string // HTTP's; POST where it is empty
	ContentType string
	Query       string            // without `?`
	Headers     map[string]string // what the other application sees as headers
	Timeout     time.Duration     // 0: as long as the event may take
}

// Response is the answer of another application.
type Response struct {
	Data        []byte
	ContentType string
}

var verbs = map[string]uint64{
	"GET": 1, "HEAD": 2, "": 3, "POST": 3, "PUT": 4, "DELETE": 5, "CONNECT": 6, "OPTIONS": 7, "TRACE": 8, "PATCH": 9,
}

// StartInvokeMethod begins InvokeMethod.
func StartInvokeMethod(app, method string, data []byte, options ...InvokeOptions) *Pending[Response] {
	o := optional(options)
	message := proto.Message{}.Text(1, method).Message(2, proto.Message{}.Bytes(2, data)).Text(3, o.ContentType)
	http := proto.Message{}.Number(1, verbs[strings.ToUpper(o.Verb)]).Text(2, o.Query)
	request := proto.Message{}.Text(1, app).Message(3, message.Message(4, http))
	return start("InvokeService", request, o.Headers, o.Timeout, func(message []byte) Response {
		value := proto.Find(proto.Find(message, 1).Bytes, 2).Bytes
		return Response{Data: value, ContentType: string(proto.Find(message, 2).Bytes)}
	})
}

// InvokeMethod calls a method of another application.
func InvokeMethod(app, method string, data []byte, options ...InvokeOptions) (Response, error) {
	return StartInvokeMethod(app, method, data, options...).Wait()
}

// BindingResponse is what an output binding gives back.
type BindingResponse struct {
	Data     []byte
	Metadata map[string]string
}

// StartInvokeBinding begins InvokeBinding.
func StartInvokeBinding(name, operation string, data []byte, options ...Options) *Pending[BindingResponse] {
	o := optional(options)
	request := proto.Message{}.Text(1, name).Bytes(2, data).Map(3, o.Metadata).Text(4, operation)
	return start("InvokeBinding", request, nil, o.Timeout, func(message []byte) BindingResponse {
		return BindingResponse{Data: proto.Find(message, 1).Bytes, Metadata: proto.Texts(message, 2)}
	})
}

// InvokeBinding uses an output binding.
func InvokeBinding(name, operation string, data []byte, options ...Options) (BindingResponse, error) {
	return StartInvokeBinding(name, operation, data, options...).Wait()
}

// StartGetSecret begins GetSecret.
func StartGetSecret(store, key string, options ...Options) *Pending[map[string]string] {
	o := optional(options)
	request := proto.Message{}.Text(1, store).Text(2, key).Map(3, o.Metadata)
	return start("GetSecret", request, nil, o.Timeout, func(message []byte) map[string]string {
		return proto.Texts(message, 1)
	})
}

// GetSecret reads a secret. Most have one value, whose name is the key.
func GetSecret(store, key string, options ...Options) (map[string]string, error) {
	return StartGetSecret(store, key, options...).Wait()
}

// ConfigurationItem is a value of a configuration store.
type ConfigurationItem struct{ Value, Version string }

// StartGetConfiguration begins GetConfiguration.
func StartGetConfiguration(store string, keys []string, options ...Options) *Pending[map[string]ConfigurationItem] {
	o := optional(options)
	request := proto.Message{}.Text(1, store)
	for _, key := range keys {
		request = request.Text(2, key)
	}
	decode := func(message []byte) map[string]ConfigurationItem {
		items := map[string]ConfigurationItem{}
		for key, item := range proto.Map(message, 1) {
			items[key] = ConfigurationItem{string(proto.Find(item, 1).Bytes), string(proto.Find(item, 2).Bytes)}
		}
		return items
	}
	return start("GetConfiguration", request.Map(3, o.Metadata), nil, o.Timeout, decode)
}

// GetConfiguration reads values of a configuration store; without keys, all.
func GetConfiguration(store string, keys []string, options ...Options) (map[string]ConfigurationItem, error) {
	return StartGetConfiguration(store, keys, options...).Wait()
}

// StartTryLock begins TryLock.
func StartTryLock(store, resource, owner string, expiry time.Duration, options ...Options) *Pending[bool] {
	seconds := uint64(max(expiry, 0)+time.Second-1) / uint64(time.Second)
	request := proto.Message{}.Text(1, store).Text(2, resource).Text(3, owner).Number(4, seconds)
	return start("TryLockAlpha1", request, nil, optional(options).Timeout, func(message []byte) bool {
		return proto.Find(message, 1).Value != 0
	})
}

// TryLock takes a lock, for whole seconds. False where another owner has it.
func TryLock(store, resource, owner string, expiry time.Duration, options ...Options) (bool, error) {
	return StartTryLock(store, resource, owner, expiry, options...).Wait()
}

// Unlocked is how giving a lock back ended.
type Unlocked uint32

// The ways.
const (
	Released Unlocked = iota
	NoSuchLock
	LockOfAnother
	LockStoreFailed
)

// StartUnlock begins Unlock.
func StartUnlock(store, resource, owner string, options ...Options) *Pending[Unlocked] {
	request := proto.Message{}.Text(1, store).Text(2, resource).Text(3, owner)
	return start("UnlockAlpha1", request, nil, optional(options).Timeout, func(message []byte) Unlocked {
		return Unlocked(proto.Find(message, 1).Value)
	})
}

// Unlock gives a lock back.
func Unlock(store, resource, owner string, options ...Options) (Unlocked, error) {
	return StartUnlock(store, resource, owner, options...).Wait()
}

// JobDetails are what a job is; it comes back as an event.
type JobDetails struct {
	Schedule string // such as "@every 5m"
	DueTime  string // such as "30s"
	TTL      string
	Repeats  uint32
	Data     []byte // the body of its events
}

// JobOptions are those of ScheduleJob.
type JobOptions struct {
	Overwrite bool // a job of the same name
	Timeout   time.Duration
}

// StartScheduleJob begins ScheduleJob.
func StartScheduleJob(name string, job JobDetails, options ...JobOptions) *Pending[struct{}] {
	o := optional(options)
	details := proto.Message{}.Text(1, name).Text(2, job.Schedule)
	if job.Repeats > 0 {
		details = details.Number(3, uint64(job.Repeats))
	}
	details = details.Text(4, job.DueTime).Text(5, job.TTL).Message(6, proto.Message{}.Bytes(2, job.Data))
	request := proto.Message{}.Message(1, details)
	if o.Overwrite {
		request = request.Number(2, 1)
	}
	return start("ScheduleJob", request, nil, o.Timeout, nothing)
}

// ScheduleJob makes a job.
func ScheduleJob(name string, job JobDetails, options ...JobOptions) error {
	_, err := StartScheduleJob(name, job, options...).Wait()
	return err
}

// StartGetJob begins GetJob.
func StartGetJob(name string, options ...Options) *Pending[JobDetails] {
	return start("GetJob", proto.Message{}.Text(1, name), nil, optional(options).Timeout, func(message []byte) JobDetails {
		job := proto.Find(message, 1).Bytes
		text := func(number uint32) string { return string(proto.Find(job, number).Bytes) }
		return JobDetails{
			Schedule: text(2), DueTime: text(4), TTL: text(5), Repeats: uint32(proto.Find(job, 3).Value),
			Data: proto.Find(proto.Find(job, 6).Bytes, 2).Bytes,
		}
	})
}

// GetJob reads a job.
func GetJob(name string, options ...Options) (JobDetails, error) {
	return StartGetJob(name, options...).Wait()
}

// StartDeleteJob begins DeleteJob.
func StartDeleteJob(name string, options ...Options) *Pending[struct{}] {
	return start("DeleteJob", proto.Message{}.Text(1, name), nil, optional(options).Timeout, nothing)
}

// DeleteJob deletes a job.
func DeleteJob(name string, options ...Options) error {
	_, err := StartDeleteJob(name, options...).Wait()
	return err
}

// StartInvokeActor begins InvokeActor.
func StartInvokeActor(kind, id, method string, data []byte, options ...Options) *Pending[[]byte] {
	o := optional(options)
	request := proto.Message{}.Text(1, kind).Text(2, id).Text(3, method).Bytes(4, data).Map(5, o.Metadata)
	return start("InvokeActor", request, nil, o.Timeout, func(message []byte) []byte {
		return proto.Find(message, 1).Bytes
	})
}

// InvokeActor calls a method of an actor.
func InvokeActor(kind, id, method string, data []byte, options ...Options) ([]byte, error) {
	return StartInvokeActor(kind, id, method, data, options...).Wait()
}
