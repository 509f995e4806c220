package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func clusterCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cluster", Short: "Show the cluster, its health and its quorum"}
	cmd.AddCommand(clusterInfoCommand(), clusterHealthCommand(), clusterQuorumCommand())
	return cmd
}

// clusterInfo is what cluster info prints.
type clusterInfo struct {
	ID         string       `json:"id"`
	Controller int32        `json:"controller"`
	Topics     int          `json:"topics"`
	Partitions int          `json:"partitions"`
	Offline    int          `json:"offline_partitions"`
	Brokers    []brokerInfo `json:"brokers"`
}

type brokerInfo struct {
	ID   int32   `json:"id"`
	Host string  `json:"host"`
	Port int32   `json:"port"`
	Rack *string `json:"rack"`
}

func clusterInfoCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "info", Short: "Show the cluster's id, its brokers, and how many partitions it has", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			m, err := adm.Metadata(cmd.Context())
			if err != nil {
				return explain("reading the cluster's metadata", err, "")
			}
			info := clusterInfo{ID: m.Cluster, Controller: m.Controller, Topics: len(m.Topics), Brokers: []brokerInfo{}}
			for _, b := range m.Brokers {
				info.Brokers = append(info.Brokers, brokerInfo{b.NodeID, b.Host, b.Port, b.Rack})
			}
			for _, t := range m.Topics {
				info.Partitions += len(t.Partitions)
				for _, p := range t.Partitions {
					if p.Leader < 0 {
						info.Offline++
					}
				}
			}
			return out.print(cmd.OutOrStdout(), info, "", func(w io.Writer) { info.table(w) })
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

func (c clusterInfo) table(w io.Writer) {
	fmt.Fprintf(w, "cluster\t%s\ncontroller\t%d\ntopics\t%d\npartitions\t%d\noffline\t%d\n\nBROKER\tADDRESS\tRACK\n", c.ID, c.Controller, c.Topics, c.Partitions, c.Offline)
	for _, b := range c.Brokers {
		rack := ""
		if b.Rack != nil {
			rack = *b.Rack
		}
		fmt.Fprintf(w, "%d\t%s:%d\t%s\n", b.ID, b.Host, b.Port, rack)
	}
}
