package azure

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"github.com/varve-io/varve/objstore"
)

// tierAction is the name that a management policy has for a move to a class.
var tierAction = map[objstore.Class]string{
	objstore.Class(blob.AccessTierCool): "tierToCool", objstore.Class(blob.AccessTierCold): "tierToCold", objstore.Class(blob.AccessTierArchive): "tierToArchive",
}

// The document of a management policy, under the names of its reference.
type (
	ruleDoc struct {
		Enabled    bool          `json:"enabled"`
		Name       string        `json:"name"`
		Type       string        `json:"type"`
		Definition definitionDoc `json:"definition"`
	}
	definitionDoc struct {
		Filters filtersDoc `json:"filters"`
		Actions actionsDoc `json:"actions"`
	}
	filtersDoc struct {
		Types  []string `json:"blobTypes"`
		Prefix []string `json:"prefixMatch"`
	}
	actionsDoc struct {
		Blob map[string]ageDoc `json:"baseBlob"`
	}
	ageDoc struct {
		Days int `json:"daysAfterModificationGreaterThan"`
	}
)

// RenderLifecycle implements objstore.LifecycleRenderer. Rules are of the account, and belong to its
// management and not to the data plane: they can be neither read nor changed with the credentials of
// a container. Rules that abort uploads are left out, since the service drops uncommitted blocks
// after a week by itself.
func (b *Bucket) RenderLifecycle(rules []objstore.LifecycleRule) ([]byte, string, error) {
	const op = "lifecycle"
	if err := b.Capabilities().CheckLifecycle(rules); err != nil {
		return nil, "", err
	}
	doc := struct {
		Rules []ruleDoc `json:"rules"`
	}{Rules: []ruleDoc{}}
	for _, r := range rules {
		if r.AbortUploads {
			continue
		}
		action, ok := tierAction[r.Class]
		if !ok {
			return nil, "", objstore.NewError(objstore.ErrUnsupported, op, r.Prefix, fmt.Errorf("no rule moves objects to %s", r.Class))
		}
		doc.Rules = append(doc.Rules, ruleDoc{Enabled: true, Name: r.ID, Type: "Lifecycle", Definition: definitionDoc{
			Filters: filtersDoc{Types: []string{"blockBlob"}, Prefix: []string{b.conf.Container + "/" + r.Prefix}},
			Actions: actionsDoc{Blob: map[string]ageDoc{action: {r.Days}}},
		}})
	}
	if len(doc.Rules) == 0 {
		return nil, "", objstore.NewError(objstore.ErrUnsupported, op, "", errors.New("nothing is to be set up: Azure drops the blocks of unfinished uploads after a week by itself"))
	}
	raw, err := json.MarshalIndent(doc, "", "  ")
	return raw, "az storage account management-policy create --resource-group GROUP --account-name " + b.conf.Account + " --policy @FILE", err
}
