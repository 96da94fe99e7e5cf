package lsp

import (
	"reflect"

	"dipls/dipexec/event"
)

//go:generate go run ./gen ..

// Schema is what the server and its clients say to each other beyond LSP. lsp/gen makes the docs and the clients' types from it.
type Schema struct {
	Section             string       // what names of commands and settings begin with, before a dot
	Commands            []Command    // all commands
	Settings            []Setting    // all settings
	Options             reflect.Type // of the initializationOptions that are no settings
	Requests            []Message    // from the client
	ClientRequests      []Message    // to the client
	ClientNotifications []Message    // from the client
	Notifications       []Message    // to the client
}

// Message is a request or a notification that LSP does not have.
type Message struct {
	Method string
	Params reflect.Type // nil: it has none
	Answer reflect.Type // nil: it is a notification
}

// NewSchema collects the tables and types of the server.
func NewSchema() Schema {
	return Schema{
		Section:  settingsSection,
		Commands: commands,
		Settings: settingsTable,
		Options:  reflect.TypeFor[options](),
		Requests: []Message{
			{methodCells, reflect.TypeFor[cellsParams](), reflect.TypeFor[cellsAnswer]()},
			{methodSplit, reflect.TypeFor[splitParams](), reflect.TypeFor[splitAnswer]()},
		},
		ClientRequests: []Message{
			{methodInput, reflect.TypeFor[inputParams](), reflect.TypeFor[inputAnswer]()},
		},
		ClientNotifications: []Message{
			{Method: methodTrusted},
			{Method: methodColumns, Params: reflect.TypeFor[columnsParams]()},
		},
		Notifications: []Message{
			{Method: methodEvent, Params: reflect.TypeFor[event.Event]()},
			{Method: methodFolded, Params: reflect.TypeFor[foldedParams]()},
			{Method: methodSession, Params: reflect.TypeFor[sessionParams]()},
			{Method: methodCellsChanged, Params: reflect.TypeFor[cellsChangedParams]()},
			{Method: methodGone, Params: reflect.TypeFor[goneParams]()},
		},
	}
}
