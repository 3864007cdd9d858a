// The stand-in knows the arguments of the google provider's resources that are used here, and nothing else: it lets
// `terraform validate` and `terraform test` with mock_provider run where the real provider cannot be had.
// It is told of them by schema.json (see schema.py) and refuses to plan or apply for real.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"log"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	providerschema "github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

//go:embed schema.json
var schemaJSON []byte

// argument is one argument, block or computed value of a resource.
type argument struct {
	Type     string
	Block    string
	Required bool
	Computed bool
	Choices  []string
	Of       map[string]argument
}

type standIn struct {
	resources map[string]map[string]argument
}

func (standIn) Metadata(_ context.Context, _ provider.MetadataRequest, out *provider.MetadataResponse) {
	out.TypeName = "google"
}

func (standIn) Schema(_ context.Context, _ provider.SchemaRequest, out *provider.SchemaResponse) {
	out.Schema = providerschema.Schema{Attributes: map[string]providerschema.Attribute{
		"project": providerschema.StringAttribute{Optional: true},
		"region":  providerschema.StringAttribute{Optional: true},
	}}
}

func (standIn) Configure(_ context.Context, _ provider.ConfigureRequest, out *provider.ConfigureResponse) {
	out.Diagnostics.AddError("This is not the google provider",
		"It is the stand-in for checks; remove dev_overrides from the CLI configuration to plan or apply.")
}

func (standIn) DataSources(context.Context) []func() datasource.DataSource { return nil }

func (p standIn) Resources(context.Context) []func() resource.Resource {
	var all []func() resource.Resource
	for name, arguments := range p.resources {
		all = append(all, func() resource.Resource { return shape{name, arguments} })
	}
	return all
}

// shape is a resource that has arguments and can do nothing.
type shape struct {
	name      string
	arguments map[string]argument
}

func (s shape) Metadata(_ context.Context, _ resource.MetadataRequest, out *resource.MetadataResponse) {
	out.TypeName = s.name
}

func (s shape) Schema(_ context.Context, _ resource.SchemaRequest, out *resource.SchemaResponse) {
	out.Schema.Attributes, out.Schema.Blocks = split(s.arguments)
}

func (shape) Create(_ context.Context, _ resource.CreateRequest, out *resource.CreateResponse) {
	out.Diagnostics.AddError("The stand-in creates nothing", "Use the google provider.")
}

func (shape) Read(_ context.Context, _ resource.ReadRequest, out *resource.ReadResponse) {
	out.Diagnostics.AddError("The stand-in reads nothing", "Use the google provider.")
}

func (shape) Update(_ context.Context, _ resource.UpdateRequest, out *resource.UpdateResponse) {
	out.Diagnostics.AddError("The stand-in updates nothing", "Use the google provider.")
}

func (shape) Delete(_ context.Context, _ resource.DeleteRequest, out *resource.DeleteResponse) {
	out.Diagnostics.AddError("The stand-in deletes nothing", "Use the google provider.")
}

// split returns a resource's or block's arguments, and the blocks within it.
func split(arguments map[string]argument) (map[string]schema.Attribute, map[string]schema.Block) {
	attributes, blocks := map[string]schema.Attribute{}, map[string]schema.Block{}
	for name, each := range arguments {
		if each.Block == "" {
			attributes[name] = attribute(name, each)
			continue
		}
		inner, nested := split(each.Of)
		object := schema.NestedBlockObject{Attributes: inner, Blocks: nested}
		if each.Block == "set" {
			blocks[name] = schema.SetNestedBlock{NestedObject: object}
		} else if each.Required {
			blocks[name] = schema.ListNestedBlock{NestedObject: object, Validators: []validator.List{present{}}}
		} else {
			blocks[name] = schema.ListNestedBlock{NestedObject: object}
		}
	}
	return attributes, blocks
}

func attribute(name string, of argument) schema.Attribute {
	// The real provider fills these two in when they are left out.
	computed := of.Computed || (!of.Required && (name == "id" || name == "project"))
	optional := !of.Required && !of.Computed
	switch of.Type {
	case "string":
		var checks []validator.String
		if of.Choices != nil {
			checks = []validator.String{choice{of.Choices}}
		}
		return schema.StringAttribute{Required: of.Required, Optional: optional, Computed: computed, Validators: checks}
	case "number":
		return schema.NumberAttribute{Required: of.Required, Optional: optional, Computed: computed}
	case "bool":
		return schema.BoolAttribute{Required: of.Required, Optional: optional, Computed: computed}
	}
	kind := valueType(of)
	if list, is := kind.(types.ListType); is {
		return schema.ListAttribute{ElementType: list.ElemType, Required: of.Required, Optional: optional, Computed: computed}
	}
	return schema.MapAttribute{ElementType: types.StringType, Required: of.Required, Optional: optional, Computed: computed}
}

func valueType(of argument) attr.Type {
	switch of.Type {
	case "string":
		return types.StringType
	case "number":
		return types.NumberType
	case "bool":
		return types.BoolType
	case "strings":
		return types.ListType{ElemType: types.StringType}
	case "map":
		return types.MapType{ElemType: types.StringType}
	case "objects":
		inner := map[string]attr.Type{}
		for name, each := range of.Of {
			inner[name] = valueType(each)
		}
		return types.ListType{ElemType: types.ObjectType{AttrTypes: inner}}
	}
	panic("schema.json: unknown type " + of.Type)
}

// choice lets only the documented values through.
type choice struct{ of []string }

func (c choice) Description(context.Context) string {
	return "must be one of " + strings.Join(c.of, ", ")
}

func (c choice) MarkdownDescription(ctx context.Context) string { return c.Description(ctx) }

func (c choice) ValidateString(ctx context.Context, in validator.StringRequest, out *validator.StringResponse) {
	value := in.ConfigValue
	if value.IsNull() || value.IsUnknown() || slices.Contains(c.of, value.ValueString()) {
		return
	}
	out.Diagnostics.AddAttributeError(in.Path, "Not a documented value",
		fmt.Sprintf("%q: %s", value.ValueString(), c.Description(ctx)))
}

// present refuses a required block that is not there.
type present struct{}

func (present) Description(context.Context) string { return "must be there" }

func (p present) MarkdownDescription(ctx context.Context) string { return p.Description(ctx) }

func (present) ValidateList(_ context.Context, in validator.ListRequest, out *validator.ListResponse) {
	if in.ConfigValue.IsUnknown() || len(in.ConfigValue.Elements()) > 0 {
		return
	}
	out.Diagnostics.AddAttributeError(in.Path, "Missing block", "This block is required.")
}

func main() {
	known := standIn{}
	if err := json.Unmarshal(schemaJSON, &known.resources); err != nil {
		log.Fatal("schema.json: ", err)
	}
	options := providerserver.ServeOpts{Address: "terraform.local/hashicorp/google"}
	if err := providerserver.Serve(context.Background(), func() provider.Provider { return known }, options); err != nil {
		log.Fatal(err)
	}
}
