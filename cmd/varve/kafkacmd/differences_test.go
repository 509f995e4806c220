package kafkacmd_test

// The reasons that several commands have.
const (
	brokersWords = "the words are the broker's, which the original prints too when it talks to Varve"
	ownWords     = "the options are explained in words of its own"
)

// differences are the commands whose output is not what the original has printed on Apache Kafka, with the reason.
var differences = map[string]string{
	"kafka-topics --help":                                                    ownWords,
	"kafka-topics @ --create --topic orders":                                 brokersWords,
	"kafka-topics @ --alter --topic plain --partitions 2":                    brokersWords,
	"kafka-topics @ --create --topic bad --config retention.mss=1":           brokersWords,
	"kafka-topics @ --create --topic bad --replication-factor 3":             brokersWords,
	"kafka-topics @ --create --topic \"bad name\"":                           brokersWords,
	"kafka-topics @ --describe --topics-with-overrides":                      "KIP-966 gives each new Kafka cluster a min.insync.replicas of its own, which counts as one",
	"kafka-configs @ --describe --entity-type brokers --entity-name 1":       "Kafka's broker tells the value of its file, which has none, beside the one that was set",
	"kafka-consumer-groups @ --describe --group billing --offsets --verbose": "the commit has the epoch of the leader; that of the original's console consumer has none",
	"kafka-acls @ --remove --topic orders":                                   "the answer is read from stdin; the original wants a terminal",
}
