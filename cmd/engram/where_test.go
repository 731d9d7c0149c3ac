package main

import (
	"reflect"
	"testing"
	"time"

	"engram/client"
)

func TestCondition(t *testing.T) {
	landing := time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC)
	topic := client.Metadata("topic")
	for s, want := range map[string]client.Filter{
		"speaker=CDR":                      client.Speaker.Equals("CDR"),
		"speaker=":                         client.Speaker.Equals(""),
		"id!=a":                            client.Not(client.ID.Equals("a")),
		"text~spare key":                   client.TextField.Contains("spare key"),
		"text~a=b":                         client.TextField.Contains("a=b"),
		"text=why?":                        client.TextField.Equals("why?"),
		"session^=day":                     client.Session.Prefix("day"),
		"session?":                         client.Session.Exists(),
		"importance>=0.5":                  client.Importance.AtLeast(0.5),
		"importance>0.5":                   client.Importance.Above(0.5),
		"importance<=0.5":                  client.Importance.AtMost(0.5),
		"importance<0.5":                   client.Importance.Below(0.5),
		"time>=1969-07-20T20:17:40Z":       client.Time.AtLeast(landing),
		"create_time<1969-07-20T20:17:40Z": client.CreateTime.Below(landing),
		"update_time<1969-07-20T20:17:40Z": client.UpdateTime.Below(landing),
		"meta.topic=home":                  topic.Equals("home"),
		"meta.topic=3":                     topic.Equals(3.0),
		`meta.topic="3"`:                   topic.Equals("3"),
		"meta.topic=true":                  topic.Equals(true),
		"meta.topic=[1]":                   topic.Equals("[1]"),
		"meta.a.b?":                        client.Metadata("a", "b").Exists(),
	} {
		got, err := condition(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v; want %+v", s, got, want)
		}
	}
	for _, s := range []string{"", "speaker", "colour=red", "colour?", "=x", "importance=high", "time<yesterday", "time=3"} {
		if got, err := condition(s); !isUsage(err) {
			t.Errorf("%q: %+v, %v; want an error of usage", s, got, err)
		}
	}
}

func TestConditionsAllHold(t *testing.T) {
	w := Where{Where: []string{"speaker=CDR", "meta.day>=4"}}
	got, err := w.filter()
	want := client.All(client.Speaker.Equals("CDR"), client.Metadata("day").AtLeast(4.0))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if options, err := (&Where{}).options(); err != nil || options != nil {
		t.Errorf("%v, %v; want no options for no conditions", options, err)
	}
}
