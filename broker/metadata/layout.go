package metadata

// The bytes of each record, version by version, as docs/formats/metadata-records.md lists them.

func encodeCluster(w *writer, r Record) { w.string(r.(ClusterRecord).ClusterID) }

func decodeCluster(r *reader) Record { return ClusterRecord{ClusterID: r.string()} }

func encodeFeature(w *writer, r Record) {
	f := r.(FeatureRecord)
	w.string(f.Name)
	w.int(int64(f.Level))
}

func decodeFeature(r *reader) Record { return FeatureRecord{Name: r.string(), Level: r.int16()} }

func encodeRegisterBroker(w *writer, r Record) {
	b := r.(RegisterBrokerRecord)
	w.int(int64(b.ID))
	w.id(b.Incarnation)
	w.int(b.Epoch)
	list(w, b.Endpoints, func(e Endpoint) {
		w.string(e.Name)
		w.string(e.Host)
		w.int(int64(e.Port))
		w.string(e.Protocol)
	})
	w.string(b.Rack)
	w.ids(b.LogDirs)
	w.bool(b.Fenced)
}

func decodeRegisterBroker(r *reader) Record {
	return RegisterBrokerRecord{
		ID: r.int32(), Incarnation: r.id(), Epoch: r.int64(),
		Endpoints: many(r, 4, func() Endpoint {
			return Endpoint{Name: r.string(), Host: r.string(), Port: r.int32(), Protocol: r.string()}
		}),
		Rack: r.string(), LogDirs: r.ids(), Fenced: r.bool(),
	}
}

func encodeTopic(w *writer, r Record) {
	t := r.(TopicRecord)
	w.string(t.Name)
	w.id(t.ID)
	w.int(t.Version)
	w.config(t.Config)
}

func decodeTopic(r *reader) Record {
	return TopicRecord{Name: r.string(), ID: r.id(), Version: r.int64(), Config: r.config()}
}

func encodePartition(w *writer, r Record) {
	p := r.(PartitionRecord)
	w.id(p.TopicID)
	w.int(int64(p.Index))
	w.int32s(p.Replicas)
	w.ids(p.Dirs)
	w.int32s(p.ISR)
	w.int32s(p.ELR)
	w.int(int64(p.Leader))
	w.int(int64(p.LeaderEpoch))
	w.int(int64(p.PartitionEpoch))
}

func decodePartition(r *reader) Record {
	return PartitionRecord{TopicID: r.id(), Index: r.int32(), Partition: Partition{
		Replicas: r.int32s(), Dirs: r.ids(), ISR: r.int32s(), ELR: r.int32s(),
		Leader: r.int32(), LeaderEpoch: r.int32(), PartitionEpoch: r.int32(),
	}}
}

func encodeTopicConfig(w *writer, r Record) {
	c := r.(TopicConfigRecord)
	w.id(c.TopicID)
	w.int(c.Version)
	w.config(c.Config)
}

func decodeTopicConfig(r *reader) Record {
	return TopicConfigRecord{TopicID: r.id(), Version: r.int64(), Config: r.config()}
}

func encodeRemoveTopic(w *writer, r Record) { w.id(r.(RemoveTopicRecord).TopicID) }

func decodeRemoveTopic(r *reader) Record { return RemoveTopicRecord{TopicID: r.id()} }

func encodeProducerIDs(w *writer, r Record) { w.int(r.(ProducerIDsRecord).Next) }

func decodeProducerIDs(r *reader) Record { return ProducerIDsRecord{Next: r.int64()} }

func encodePurge(w *writer, r Record) {
	p := r.(PurgeRecord)
	w.id(p.TopicID)
	w.string(p.Name)
	w.bool(p.Done)
}

func decodePurge(r *reader) Record {
	return PurgeRecord{TopicID: r.id(), Name: r.string(), Done: r.bool()}
}

func encodeConfig(w *writer, r Record) {
	c := r.(ConfigRecord)
	w.int(int64(c.Resource.Type))
	w.string(c.Resource.Name)
	w.config(c.Config)
}

func decodeConfig(r *reader) Record {
	return ConfigRecord{Resource: ConfigResource{Type: ResourceType(r.int16()), Name: r.string()}, Config: r.config()}
}

func encodeRemoveBroker(w *writer, r Record) {
	b := r.(RemoveBrokerRecord)
	w.int(int64(b.ID))
	w.int(b.Epoch)
}

func decodeRemoveBroker(r *reader) Record { return RemoveBrokerRecord{ID: r.int32(), Epoch: r.int64()} }
